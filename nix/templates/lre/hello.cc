#include <iostream>

int main() {
    std::cout << "built in a sandbox, with a pinned compiler\n";
}
