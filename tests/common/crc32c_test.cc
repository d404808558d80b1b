#include "common/crc32c.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace f3 {
namespace {

uint32_t OfText(const std::string& text) { return Crc32c(std::as_bytes(std::span(text))); }

// Bit by bit, from the polynomial.
uint32_t Slow(std::span<const std::byte> bytes) {
  uint32_t reg = ~0u;
  for (std::byte byte : bytes) {
    reg ^= static_cast<uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) reg = reg >> 1 ^ (reg & 1 ? 0x82F63B78u : 0);
  }
  return ~reg;
}

TEST(Crc32c, VectorsOfRfc3720) {
  EXPECT_EQ(OfText("123456789"), 0xE3069283u);
  EXPECT_EQ(OfText(""), 0u);
  std::array<std::byte, 32> bytes{};
  EXPECT_EQ(Crc32c(bytes), 0x8A9136AAu);
  bytes.fill(std::byte{0xFF});
  EXPECT_EQ(Crc32c(bytes), 0x62A8AB43u);
  for (int i = 0; i < 32; ++i) bytes[static_cast<size_t>(i)] = static_cast<std::byte>(i);
  EXPECT_EQ(Crc32c(bytes), 0x46DD794Eu);
  for (int i = 0; i < 32; ++i) bytes[static_cast<size_t>(i)] = static_cast<std::byte>(31 - i);
  EXPECT_EQ(Crc32c(bytes), 0x113FDB5Cu);
}

TEST(Crc32c, EveryLengthAndAlignmentAgreesWithTheDefinition) {
  std::vector<std::byte> bytes(300);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 131 + 7);
  for (size_t start = 0; start < 16; ++start) {
    for (size_t length = 0; length + start <= bytes.size(); length += 13) {
      auto part = std::span(bytes).subspan(start, length);
      EXPECT_EQ(Crc32c(part), Slow(part)) << start << " " << length;
    }
  }
}

TEST(Crc32c, ContinuesOverParts) {
  std::vector<std::byte> bytes(1000, std::byte{0x5a});
  auto whole = std::span<const std::byte>(bytes);
  for (size_t cut : {0, 1, 8, 500, 999, 1000}) {
    EXPECT_EQ(Crc32c(whole.subspan(cut), Crc32c(whole.first(cut))), Crc32c(whole));
  }
}

}  // namespace
}  // namespace f3
