#include "inkwell/links.h"

#include <regex>

#include "inkwell/utf8.h"

namespace inkwell {

std::string normalised_label(std::string_view label) {
  static const std::regex blanks("[ \t\n]+");
  return std::regex_replace(lower(trim(label)), blanks, " ");
}

void Links::define(std::string_view label, std::string_view target, Position position, Diagnostics& diagnostics) {
  const auto [place, is_new] =
      definitions_.try_emplace(normalised_label(label), Definition{std::string(target), position, 0});
  if (!is_new) {
    diagnostics.report(Severity::Warning, position,
                       "the label '" + place->first + "' is already defined on line " +
                           std::to_string(place->second.position.line));
  }
}

std::optional<std::string_view> Links::resolve(std::string_view label) {
  const auto found = definitions_.find(normalised_label(label));
  if (found == definitions_.end()) return std::nullopt;
  ++found->second.uses;
  return found->second.target;
}

void Links::report_unused(Diagnostics& diagnostics) const {
  for (const auto& [label, definition] : definitions_) {
    if (definition.uses == 0) {
      diagnostics.report(Severity::Note, definition.position, "the label '" + label + "' is never used");
    }
  }
}

TargetKind kind_of_target(const std::string& target) {
  static const std::regex web("https?://[^/?#]+.*", std::regex::icase);
  static const std::regex mail("mailto:[^@]+@.+", std::regex::icase);
  static const std::regex script("(javascript|vbscript|data):.*", std::regex::icase);
  if (std::regex_match(target, web)) return TargetKind::Web;
  if (std::regex_match(target, mail)) return TargetKind::Mail;
  if (std::regex_match(target, script)) return TargetKind::Dangerous;
  return !target.empty() && target.front() == '#' ? TargetKind::Fragment : TargetKind::Path;
}

}  // namespace inkwell
