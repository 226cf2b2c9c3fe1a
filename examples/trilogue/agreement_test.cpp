// All files that are named have the same content.
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

namespace {

std::string content(const char* path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        std::cerr << path << " cannot be read\n";
        std::exit(2);
    }
    return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 3) {
        std::cerr << "at least two files\n";
        return 2;
    }
    const std::string expected = content(arguments[1]);
    int failures = 0;
    for (int i = 2; i < count; ++i) {
        if (content(arguments[i]) != expected) {
            std::cerr << arguments[i] << " differs from " << arguments[1] << "\n";
            ++failures;
        }
    }
    return failures;
}
