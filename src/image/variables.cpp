// Parameters and locals at a pc.
#include "image/image_state.h"

namespace incident {

std::vector<Variable> Image::variables_at(Address, const Registers&, std::optional<Address>, const Memory&) const { return {}; }

}  // namespace incident
