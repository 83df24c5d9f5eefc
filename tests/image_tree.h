// A tree like raw ImageNet's, in small: train/SYNSET/*.JPEG and val/, of classes that a network
// tells apart (colour and texture), with every odd kind of file that the real one has. The images
// are flat blocks of 8x8, so that a JPEG file needs its DC coefficients only (ITU T.81): grey,
// CMYK, YCCK and progressive ones are written without any library.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace fission {
namespace test {

struct BlockImage {
  int across, down;                                 // in blocks of 8x8
  std::vector<std::array<std::uint8_t, 3>> colour;  // (down, across) RGB
};
enum class FileKind { colour, grey, cmyk, ycck, progressive, broken_exif, png, not_images };

BlockImage draw_image(int label, int number);  // one of 12 classes; 64 to 144 pixels a side
std::vector<std::uint8_t> encode(const BlockImage& image, FileKind kind);

struct ImageTree {
  int classes = 6, train = 16, val = 8;  // images a class
  bool flat_val = false;                 // val/*.JPEG, and val-labels.txt: a synset a line
  int not_images = 0;                    // files in train/ that hold no image
};
void write_image_tree(const std::string& directory, const ImageTree& tree);
std::string synset(int label);

}  // namespace test
}  // namespace fission
