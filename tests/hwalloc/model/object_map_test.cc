// From recorded addresses to objects.
#include "hwalloc/model/object_map.h"

#include <gtest/gtest.h>

namespace f3::hwmodel {
namespace {

TEST(ObjectMap, FindsAnObjectByAnyOfItsGranules) {
  ObjectMap map;
  map.Add({0x1000, 40, 7});
  for (uint64_t at : {0x1000u, 0x1010u, 0x1020u}) {
    ASSERT_NE(map.At(at), nullptr) << at;
    EXPECT_EQ(map.At(at)->place, 7u);
  }
  EXPECT_EQ(map.At(0x1030), nullptr);
  EXPECT_EQ(map.At(0x0ff0), nullptr);
  EXPECT_EQ(map.At(0x2000), nullptr);
}

TEST(ObjectMap, ObjectsMayCrossPages) {
  ObjectMap map;
  map.Add({0x1ff0, 64, 7});
  EXPECT_NE(map.At(0x1ff0), nullptr);
  EXPECT_NE(map.At(0x2020), nullptr);
  EXPECT_EQ(map.At(0x2030), nullptr);
}

TEST(ObjectMap, ARemovedObjectIsGoneAndItsPlaceMayBeUsed) {
  ObjectMap map;
  map.Add({0x1000, 32, 7});
  map.Remove(0x1000);
  EXPECT_EQ(map.At(0x1000), nullptr);
  EXPECT_EQ(map.Find(0x1000), nullptr);
  map.Add({0x1010, 16, 8});
  EXPECT_EQ(map.At(0x1000), nullptr);
  EXPECT_EQ(map.At(0x1010)->place, 8u);
}

TEST(ObjectMap, OneThatBeginsAtTheSamePlaceReplacesTheOld) {
  ObjectMap map;
  map.Add({0x1000, 64, 7});
  map.Add({0x1000, 16, 8});
  EXPECT_EQ(map.At(0x1000)->place, 8u);
  EXPECT_EQ(map.At(0x1020), nullptr);
}

TEST(ObjectMap, ReadingBeyondTheEndIsOfTheObjectBefore) {
  ObjectMap map;
  map.Add({0x1000, 20, 7});
  EXPECT_EQ(map.At(0x1020, 16)->place, 7u);
  EXPECT_EQ(map.At(0x1030, 16), nullptr);
  EXPECT_EQ(map.At(0x1030, 128)->place, 7u);
  EXPECT_EQ(map.At(0x10a0, 128), nullptr);
  map.Add({0x1f80, 0x80, 9});
  EXPECT_EQ(map.At(0x2000, 128), nullptr);  // never across a page
}

TEST(ObjectMap, AnObjectOfNoBytesHasAGranule) {
  ObjectMap map;
  map.Add({0x1000, 0, 7});
  EXPECT_NE(map.At(0x1000), nullptr);
  map.Remove(0x1000);
  EXPECT_EQ(map.At(0x1000), nullptr);
}

}  // namespace
}  // namespace f3::hwmodel
