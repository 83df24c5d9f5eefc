// A network's file, and what options say of it where the file does not. Files of this program say
// all of it in their metadata. A state_dict that PyTorch saved says by its tensors which model it
// is and how wide; the activation and the images' size stand in no tensor.
#pragma once
#include "nn/io/checkpoint.h"

namespace fission {

class CommandLine;
namespace data {
struct Dataset;
}

struct GivenNetwork {
  std::string model, widths, activation, dataset;  // as metadata has them; "": not given
  Index size = 0;                                  // of images; 0: not given

  void add_to(CommandLine& app);
  // With metadata as this program writes them. UserError: what neither the file nor an option says,
  // and an option that says otherwise than the file.
  TensorFile read(const std::string& path) const;
  // The data set to use with that file: the given one, or the one that its metadata name. UserError
  // if neither says it.
  std::string dataset_of(const TensorFile& file) const;
};

// UserError if it is none for these images
void check_fits(const std::string& path, const NetworkConfig& network, const data::Dataset& images);

}  // namespace fission
