// Tiny data sets as published, that a network can learn: every class has its own brightness and
// stripes, with noise.
#pragma once
#include "tensor/geometry.h"
#include "tests/data/files.h"

namespace fission {
namespace test {

// (side,side) of one colour plane. A class is one of five brightnesses and one of two directions of
// stripes: what cropping, mirroring and global pooling leave as it is.
Bytes plane(Index image, int label, int side, int colour = 0);

// Fashion-MNIST's four files; other images for another `first`
void write_idx(const Folder& folder, const std::string& place, Index train, Index test,
               Index first = 0);

// CIFAR's files must have their published sizes: the first images are drawn, the rest is a hole
// (class 0, black).
void write_cifar(const Folder& folder, const std::string& place, const std::string& file,
                 Index records, int labels, Index drawn);

// One folder for all tests: idx/ (48 and 32 images), idx-other/, idx-more/ (240 and 80),
// cifar10/, cifar100/
const Folder& images();

}  // namespace test
}  // namespace fission
