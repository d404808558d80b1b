// How values travel between functions: one to one, scatter, gather, broadcast. Small helpers above
// xdt.hpp; references are plain text to be sent as parameters of invocations.
#ifndef F3_XDT_LIBXDT_XDT_PATTERNS_HPP_
#define F3_XDT_LIBXDT_XDT_PATTERNS_HPP_

#include <span>
#include <string>
#include <vector>

#include "xdt.hpp"

namespace f3xdt {

// For exactly one receiver.
inline std::string OneToOne(Client* client, std::span<const std::byte> value,
                            Options options = {}) {
  options.retrievals = 1;
  return client->Put(value.data(), value.size(), options);
}

// A reference for each of `parts` nearly equal pieces of one value, each for one receiver.
inline std::vector<std::string> Scatter(Client* client, std::span<const std::byte> value,
                                        size_t parts, const Options& options = {}) {
  std::vector<std::string> references;
  for (size_t i = 0; i < parts; ++i) {
    const size_t from = value.size() * i / parts;
    const size_t to = value.size() * (i + 1) / parts;
    references.push_back(OneToOne(client, value.subspan(from, to - from), options));
  }
  return references;
}

// The values of all, in order, fetched at once; an Error if one cannot be had.
inline std::vector<View> Gather(Client* client, const std::vector<std::string>& references,
                                int timeout_ms = 10'000) {
  return client->GetMany(references, timeout_ms);
}

// One reference for so many receivers (XDT_UNLIMITED: any number until it expires).
inline std::string Broadcast(Client* client, std::span<const std::byte> value, uint32_t receivers,
                             Options options = {}) {
  options.retrievals = receivers;
  return client->Put(value.data(), value.size(), options);
}

}  // namespace f3xdt

#endif  // F3_XDT_LIBXDT_XDT_PATTERNS_HPP_
