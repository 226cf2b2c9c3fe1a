#include <fstream>
#include <iostream>
#include <iterator>

#include "cpp/words.h"

int main(int count, char** arguments) {
    std::ifstream file(count == 2 ? arguments[1] : "", std::ios::binary);
    if (!file) {
        std::cerr << "tally FILE\n";
        return 2;
    }
    std::cout << trilogue::table(std::string{std::istreambuf_iterator<char>(file), {}});
}
