#include "cpp/words.h"

#include <iostream>

int main() {
    const std::string table = trilogue::table("One two, TWO; three two-one");
    if (table != "3 two\n2 one\n1 three\n" || !trilogue::table(" .\n").empty()) {
        std::cerr << table;
        return 1;
    }
}
