// Deletes a vector twice: its destructor gives free() what the first delete has left in the header, a link of malloc's.
#include <vector>

struct Widget {
    int id = 0;
    double weights[6] = {};
};

int main() {
    auto* widgets = new std::vector<Widget>(20);
    delete widgets;
    delete widgets;
}
