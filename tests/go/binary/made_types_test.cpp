// Names of the types that the compiler makes for maps and channels.
#include <gtest/gtest.h>

#include "go/binary/made_types.h"

namespace incident::go {
namespace {

TEST(MadeTypes, AreSpokenAsGoWritesThem) {
    EXPECT_EQ(spoken_type("hchan<int64>"), "chan int64");
    EXPECT_EQ(spoken_type("hchan<chan<- int>"), "chan chan<- int");
    EXPECT_EQ(spoken_type("map<string,int>"), "map[string]int");
    EXPECT_EQ(spoken_type("hash<main.pair[int,string],func(int,bool) <-chan int>"),
              "map[main.pair[int,string]]func(int,bool) <-chan int");
    EXPECT_EQ(spoken_type("map<struct { a, b int },<-chan int>"), "map[struct { a, b int }]<-chan int");
    EXPECT_EQ(spoken_type("map<chan<- int,map[string]int>"), "map[chan<- int]map[string]int");
    EXPECT_EQ(spoken_type("*table<string,int>"), "*table of map[string]int");
    EXPECT_EQ(spoken_type("[]map.group[string]func()"), "[]group of map[string]func()");
    EXPECT_EQ(spoken_type("map.bucket[[2]int]*main.leaf"), "bucket of map[[2]int]*main.leaf");
    EXPECT_EQ(spoken_type("[8]*bucket<int,int>"), "[8]*bucket of map[int]int");
}

TEST(MadeTypes, OtherNamesAreLeftAsTheyAre) {
    for (const char* name : {"", "*", "[]", "[", "[]uint8", "main.hash<int>", "map[string]int", "hchan<", "map<int>",
                             "map<,", "hash<a,b", "func(map[string]int) chan int"})
        EXPECT_EQ(spoken_type(name), name);
}

TEST(MadeTypes, AreToldApart) {
    EXPECT_EQ(made_type("hchan<int>"), MadeType::channel);
    EXPECT_EQ(made_type("hash<int,int>"), MadeType::map_header);
    EXPECT_EQ(made_type("table<int,int>"), MadeType::map_table);
    EXPECT_EQ(made_type("map.bucket[int]int"), MadeType::map_cells);
    EXPECT_EQ(made_type("main.hchan<int>"), MadeType::none);
}

}  // namespace
}  // namespace incident::go
