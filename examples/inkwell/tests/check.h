// As much of a test framework as six test programs need.
//
// TEST("what is promised") { CHECK(...); CHECK_EQUAL(expected, actual); }
#pragma once

#include <exception>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace check {

struct Test {
  const char* promise;
  std::function<void()> body;
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

struct Registration {
  Registration(const char* promise, std::function<void()> body) { tests().push_back({promise, std::move(body)}); }
};

inline void fail(const char* file, int line, const std::string& what) {
  ++failures();
  std::cerr << file << ':' << line << ": " << what << '\n';
}

template <typename Expected, typename Actual>
void equal(const char* file, int line, const Expected& expected, const Actual& actual) {
  if (expected == actual) return;
  std::ostringstream what;
  what << "expected\n" << expected << "\nbut found\n" << actual;
  fail(file, line, what.str());
}

inline int run_all() {
  for (const Test& test : tests()) {
    const int before = failures();
    try {
      test.body();
    } catch (const std::exception& error) {
      fail(test.promise, 0, std::string("threw: ") + error.what());
    }
    std::cout << (failures() == before ? "ok    " : "FAIL  ") << test.promise << '\n';
  }
  std::cout << tests().size() << " tests, " << failures() << " failures\n";
  return failures() == 0 ? 0 : 1;
}

}  // namespace check

#define CHECK_JOIN2(a, b) a##b
#define CHECK_JOIN(a, b) CHECK_JOIN2(a, b)
#define TEST(promise)                                                                               \
  static void CHECK_JOIN(test_, __LINE__)();                                                        \
  static const check::Registration CHECK_JOIN(register_, __LINE__)(promise, CHECK_JOIN(test_, __LINE__)); \
  static void CHECK_JOIN(test_, __LINE__)()
#define CHECK(condition) \
  do {                   \
    if (!(condition)) check::fail(__FILE__, __LINE__, "not true: " #condition); \
  } while (false)
#define CHECK_EQUAL(expected, actual) check::equal(__FILE__, __LINE__, expected, actual)
#define CHECK_THROWS(type, expression)                                     \
  do {                                                                     \
    bool thrown = false;                                                   \
    try {                                                                  \
      static_cast<void>(expression);                                       \
    } catch (const type&) {                                                \
      thrown = true;                                                       \
    }                                                                      \
    if (!thrown) check::fail(__FILE__, __LINE__, "did not throw: " #expression); \
  } while (false)
