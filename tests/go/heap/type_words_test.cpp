// Codes of type words: few, given out once, and a map for what comes after them.
#include "go/heap/type_words.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace incident::go {
namespace {

bool put(TypeWords& words, SlotId slot, std::uint32_t word) {
    TypeWords::Seen seen = words.look(slot);
    return words.replace(slot, seen, word);
}

TEST(TypeWords, NothingIsKnownAtFirst) {
    TypeWords words(100);
    EXPECT_EQ(words[7], 0u);
    EXPECT_TRUE(put(words, 7, TypeWord::make(42, true, TypeBasis::edge)));
    EXPECT_EQ(TypeWord::type(words[7]), 42u);
    EXPECT_TRUE(TypeWord::array(words[7]));
    EXPECT_EQ(TypeWord::basis(words[7]), TypeBasis::edge);
    EXPECT_EQ(words[8], 0u);
}

TEST(TypeWords, WhatWasSeenLongAgoReplacesNothing) {
    TypeWords words(10);
    TypeWords::Seen seen = words.look(3);
    EXPECT_TRUE(put(words, 3, 11));
    EXPECT_FALSE(words.replace(3, seen, 12));
    EXPECT_EQ(seen.word, 11u);
    EXPECT_TRUE(words.replace(3, seen, 12));
    EXPECT_EQ(words[3], 12u);
}

TEST(TypeWords, RareWordsAreKeptToo) {
    TypeWords words(1000, 4);
    for (SlotId slot = 0; slot < 1000; ++slot) EXPECT_TRUE(put(words, slot, slot + 1));
    for (SlotId slot = 0; slot < 1000; ++slot) EXPECT_EQ(words[slot], slot + 1);
    EXPECT_EQ(words.codes(), 5u);
    TypeWords::Seen old = words.look(500);
    EXPECT_EQ(old.code, TypeWords::rare);
    EXPECT_TRUE(put(words, 500, 2));  // a common one
    EXPECT_EQ(words[500], 2u);
    EXPECT_FALSE(words.replace(500, old, 3));
    EXPECT_TRUE(put(words, 500, 9999));
    EXPECT_EQ(words[500], 9999u);
    EXPECT_FALSE(words.replace(500, old, 3)) << "rare again, and another word";
    EXPECT_TRUE(put(words, 0, 7777));
    EXPECT_EQ(words[0], 7777u);
}

TEST(TypeWords, ManyAtOnceAgree) {
    for (TypeWords::Code most : {TypeWords::Code{5}, TypeWords::Code{60000}}) {
        TypeWords words(64, most);
        auto raise = [&](std::uint32_t first) {
            for (std::uint32_t word = first; word < 20000; word += 3)
                for (SlotId slot = 0; slot < 64; slot += 7) {
                    TypeWords::Seen seen = words.look(slot);
                    while (seen.word < word && !words.replace(slot, seen, word)) {}
                }
        };
        {
            std::vector<std::jthread> threads;
            for (std::uint32_t first : {1u, 2u, 3u}) threads.emplace_back(raise, first);
        }
        for (SlotId slot = 0; slot < 64; slot += 7) EXPECT_EQ(words[slot], 19999u);
    }
}

}  // namespace
}  // namespace incident::go
