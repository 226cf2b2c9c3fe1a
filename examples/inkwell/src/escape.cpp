#include "inkwell/escape.h"

#include <iomanip>
#include <sstream>

#include "inkwell/utf8.h"

namespace inkwell {

std::string escape_html(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '"': result += "&quot;"; break;
      default: result.push_back(c);
    }
  }
  return result;
}

std::string escape_url(std::string_view url) {
  constexpr std::string_view kPlain = "-._~:/?#[]@!$&'()*+,;=%";
  std::ostringstream result;
  result << std::uppercase << std::hex << std::setfill('0');
  for (const char c : url) {
    const auto byte = static_cast<unsigned char>(c);
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || kPlain.find(c) != std::string_view::npos) result << c;
    else result << '%' << std::setw(2) << static_cast<unsigned>(byte);
  }
  return escape_html(result.str());
}

std::string slug(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t before = at;
    const char32_t character = decode(text, at);
    const bool ascii = character < 0x80;
    const char c = ascii ? static_cast<char>(character) : '\0';
    const bool kept = !ascii || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (kept) result.append(text.substr(before, at - before));
    else if ((c == ' ' || c == '-') && !result.empty() && result.back() != '-') result.push_back('-');
  }
  while (!result.empty() && result.back() == '-') result.pop_back();
  return lower(result);
}

}  // namespace inkwell
