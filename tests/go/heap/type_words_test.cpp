// Codes of type words: few, given out once, and a map for what comes after them.
#include "go/heap/type_words.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace incident::go {
namespace {

TEST(TypeWords, NothingIsKnownAtFirst) {
    TypeWords words(100);
    EXPECT_EQ(words[7], 0u);
    words.set(7, TypeWord::make(42, true, TypeBasis::edge));
    EXPECT_EQ(TypeWord::type(words[7]), 42u);
    EXPECT_TRUE(TypeWord::array(words[7]));
    EXPECT_EQ(TypeWord::basis(words[7]), TypeBasis::edge);
    EXPECT_EQ(words[8], 0u);
}

TEST(TypeWords, RareWordsAreKeptToo) {
    TypeWords words(1000, 4);
    for (SlotId slot = 0; slot < 1000; ++slot) words.set(slot, slot + 1);
    for (SlotId slot = 0; slot < 1000; ++slot) EXPECT_EQ(words[slot], slot + 1);
    EXPECT_EQ(words.codes(), 5u);
    EXPECT_EQ(words.code(500), TypeWords::rare);
    words.set(500, 2);  // a common one
    EXPECT_EQ(words[500], 2u);
    EXPECT_NE(words.code(500), TypeWords::rare);
    words.set(500, 9999);
    EXPECT_EQ(words[500], 9999u);
    words.set(0, 7777);
    EXPECT_EQ(words[0], 7777u);
}

TEST(TypeWords, ManyAtOnceAgree) {
    for (TypeWords::Code most : {TypeWords::Code{5}, TypeWords::Code{60000}}) {
        TypeWords words(64, most);
        auto raise = [&](std::uint32_t first) {  // each has slots of its own, and words that the others have too
            for (std::uint32_t word = 1; word < 20000; ++word)
                for (SlotId slot = first; slot < 64; slot += 3) words.set(slot, word);
        };
        {
            std::vector<std::jthread> threads;
            for (std::uint32_t first : {0u, 1u, 2u}) threads.emplace_back(raise, first);
        }
        for (SlotId slot = 0; slot < 64; ++slot) EXPECT_EQ(words[slot], 19999u);
    }
}

}  // namespace
}  // namespace incident::go
