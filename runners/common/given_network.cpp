#include "runners/common/given_network.h"

#include "data/dataset.h"
#include "runners/common/command_line.h"
#include "runners/common/reference_file.h"

namespace fission {
namespace {

// The tensor whose rows are an axis's neurons
std::string producer(const std::string& model, std::size_t axis) {
  return layer_module(model, axis) + ".conv2d.weight";
}

std::string model_of(const TensorFile& file) {
  for (const char* model : {"mobilenet_v1", "mobilenet_v2"})
    if (file.has(producer(model, 0))) return model;
  user_error(file.path, ": metadata 'model' is missing, and no tensor is named ",
             producer("mobilenet_v1", 0), " or ", producer("mobilenet_v2", 0),
             ", expected a network of this program, or --model");
}

std::int64_t dimension(const TensorFile& file, const std::string& name, std::size_t at) {
  const auto& shape = file.at(name).shape;
  if (shape.size() <= at)
    user_error(file.path, ": tensor '", name, "': shape ", shape_text(shape),
               ", expected more dimensions");
  return shape[at];
}

}  // namespace

void GivenNetwork::add_to(CommandLine& app) {
  const std::string where = "; default: as the file says";
  app.add_option("--model", model,
                 "mobilenet_v1 or mobilenet_v2" + where + ", or its tensors' names")
      ->group("Network");
  app.add_option("--widths", widths,
                 "the network's widths (8,8,16,…)" + where + ", or its tensors' shapes")
      ->group("Network");
  app.add_option("--activation", activation,
                 "swish, relu, none" + where + "; a state_dict of PyTorch does not say it")
      ->group("Network");
  app.add_option("--size", size, "side of its images" + where + ", or the data set")
      ->check(in_range(1, 4096))
      ->group("Network");
}

TensorFile GivenNetwork::read(const std::string& path) const {
  TensorFile file = read_safetensors(path);
  auto& m = file.metadata;
  auto lacks = [&](const char* key) { return m.count(key) == 0; };
  const bool foreign = lacks("format") || m["format"] == "pt";
  auto must_agree = [&](const char* key, const std::string& value) {
    if (value.empty()) return;
    if (lacks(key)) m[key] = value;
    else if (m[key] != value)
      user_error(path, ": metadata '", key, "': '", m[key], "', but --", key, " is '", value,
                 "', expected the same or no such option");
  };
  must_agree("model", model);
  if (foreign) {
    m["format"] = "fission 1";
    if (lacks("model")) m["model"] = model_of(file);
  }
  const std::string& known = file.metadata_at("model");
  if (!widths.empty()) {
    std::string list;
    for (Index w : parse_widths(known, widths))
      list += (list.empty() ? "" : ",") + std::to_string(w);
    must_agree("widths", list);
  }
  must_agree("activation", activation);
  must_agree("size", size > 0 ? std::to_string(size) : "");
  if (!foreign) return file;
  if (lacks("dataset") && !dataset.empty()) m["dataset"] = dataset;
  const bool imagenet = !lacks("dataset") && m["dataset"] == "imagenet";
  const std::size_t axes = parse_widths(known, "seed").size();
  if (lacks("widths")) {
    std::string list;
    for (std::size_t a = 0; a < axes; a++)
      list += (a ? "," : "") + std::to_string(dimension(file, producer(known, a), 0));
    m["widths"] = list;
  }
  if (lacks("classes"))
    m["classes"] = std::to_string(
        dimension(file, known == "mobilenet_v1" ? "linear.weight" : "classifier.weight", 0));
  if (lacks("channels")) m["channels"] = std::to_string(dimension(file, producer(known, 0), 1));
  if (lacks("size") && !lacks("dataset")) m["size"] = imagenet ? "224" : "32";
  for (const char* key : {"activation", "size"})
    if (lacks(key))
      user_error(path, ": metadata '", key, "' is missing, expected it there: --", key, " says it");
  if (lacks("stem_stride"))  // as the runners have it
    m["stem_stride"] = imagenet || std::atoi(m["size"].c_str()) > 64 ? "2" : "1";
  return file;
}

std::string GivenNetwork::dataset_of(const TensorFile& file) const {
  if (!dataset.empty()) return dataset;
  const auto found = file.metadata.find("dataset");
  if (found == file.metadata.end())
    user_error(file.path, ": metadata 'dataset' is missing, expected the data set's name: ",
               "--dataset says it");
  return found->second;
}

void check_fits(const std::string& path, const NetworkConfig& c, const data::Dataset& images) {
  if (c.size != images.height || c.channels != images.channels || c.classes != images.classes)
    user_error(path, ": a network for ", c.size, "x", c.size, "x", c.channels, " images of ",
               c.classes, " classes; ", images.name, " has ", images.height, "x", images.width, "x",
               images.channels, " of ", images.classes);
}

}  // namespace fission
