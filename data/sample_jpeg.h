// Images made up for measuring: clouds of noise of every size, as JPEG. They are no photographs,
// but as large in bytes and as rich in detail as ImageNet's. Refuses a build without stb_image,
// whose encoder it takes (UserError).
#pragma once
#include <cstdint>
#include <vector>

#include "tensor/geometry.h"

namespace fission {
namespace data {

// 500×375 and seed 0 … 31 give 110 KB or so; colours halved both ways
std::vector<std::uint8_t> sample_jpeg(Index height, Index width, std::uint64_t seed);

}  // namespace data
}  // namespace fission
