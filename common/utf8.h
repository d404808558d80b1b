// Text that must be UTF-8 (messages of the wire format) made of bytes that need not be (file
// names).
#ifndef F3_COMMON_UTF8_H_
#define F3_COMMON_UTF8_H_

#include <string>
#include <string_view>

namespace f3 {

// The bytes, with "?" for each that is no part of well-formed UTF-8. Pure.
std::string ValidUtf8(std::string_view bytes);

}  // namespace f3

#endif  // F3_COMMON_UTF8_H_
