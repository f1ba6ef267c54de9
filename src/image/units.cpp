// Compile units by address, and the functions inside the units that were asked about.
#include "image/image_state.h"

namespace incident {

struct UnitIndex {};

void DropUnitIndex::operator()(UnitIndex* index) const { delete index; }

}  // namespace incident
