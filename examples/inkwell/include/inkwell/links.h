// Where links lead: definitions such as `[label]: https://example.org`, and checks of targets.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "inkwell/diagnostics.h"

namespace inkwell {

class Links {
 public:
  // The first definition of a label counts; a later one is reported.
  void define(std::string_view label, std::string_view target, Position position, Diagnostics& diagnostics);
  std::optional<std::string_view> resolve(std::string_view label);
  void report_unused(Diagnostics& diagnostics) const;
  std::size_t size() const { return definitions_.size(); }

 private:
  struct Definition {
    std::string target;
    Position position;
    std::size_t uses = 0;
  };
  std::map<std::string, Definition> definitions_;
};

// Lower case, with every run of blanks as one: `[My  Label]` and `[my label]` are one label.
std::string normalised_label(std::string_view label);

enum class TargetKind { Web, Mail, Fragment, Path, Dangerous };
TargetKind kind_of_target(const std::string& target);

}  // namespace inkwell
