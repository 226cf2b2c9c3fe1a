// Text that must not be taken for markup.
#pragma once

#include <string>
#include <string_view>

namespace inkwell {

// For the text of an element, and (quotes included) for the value of an attribute.
std::string escape_html(std::string_view text);
// For a URL in an attribute: what a URL cannot hold becomes %XX; what is escaped already stays.
std::string escape_url(std::string_view url);
// A heading as a fragment: "What is it?" becomes "what-is-it".
std::string slug(std::string_view text);

}  // namespace inkwell
