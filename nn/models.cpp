// The networks there are, by name, and the lists of widths that users give.
#include <map>
#include <sstream>

#include "nn/mobilenet_v1.h"
#include "nn/mobilenet_v2.h"

namespace fission {
namespace {

using Widths = std::vector<Index>;
using Make = std::unique_ptr<Network> (*)(const NetworkConfig&, Backend&, DType, std::uint64_t);
template <class Kind>
std::unique_ptr<Network> make(const NetworkConfig& config, Backend& backend, DType dtype,
                              std::uint64_t seed) {
  return std::make_unique<Kind>(config, backend, dtype, seed);
}

struct Model {
  const char* name;
  Make make;
  Widths full;
  std::map<std::string, Widths> named;
};

const Model& model_of(const std::string& name) {
  static const Model models[] = {
      {"mobilenet_v1",
       make<MobileNetV1>,
       MobileNetV1::full_widths(),
       {{"seed", MobileNetV1::cifar_seed_widths()},
        {"imagenet-seed", MobileNetV1::imagenet_seed_widths()}}},
      {"mobilenet_v2",
       make<MobileNetV2>,
       MobileNetV2::full_widths(),  // the paper grows it on ImageNet only: one seed
       {{"seed", MobileNetV2::seed_widths()}, {"imagenet-seed", MobileNetV2::seed_widths()}}},
  };
  std::string names;
  for (const Model& m : models) {
    if (name == m.name) return m;
    names += (names.empty() ? "" : ", ") + std::string(m.name);
  }
  user_error("[network] unknown model '", name, "'; there are: ", names);
}

}  // namespace

std::unique_ptr<Network> make_network(const NetworkConfig& config, Backend& backend, DType dtype,
                                      std::uint64_t seed) {
  return model_of(config.model).make(config, backend, dtype, seed);
}

Widths parse_widths(const std::string& model, const std::string& text) {
  const Model& known = model_of(model);
  if (auto named = known.named.find(text); named != known.named.end()) return named->second;
  auto refuse = [&]() -> Widths {
    user_error("--widths '", text,
               "': expected 'seed', 'imagenet-seed', a factor of the full widths such as 0.5, or ",
               known.full.size(), " widths such as 8,8,16,…, each from 1 to 65536");
  };
  Widths widths;
  std::stringstream stream(text);
  std::string item;
  try {
    if (text.find(',') == std::string::npos) {
      std::size_t used = 0;
      double factor = std::stod(text, &used);
      if (used != text.size() || !(factor > 0 && factor <= 64)) return refuse();
      for (Index w : known.full) widths.push_back(std::max<Index>(1, Index(double(w) * factor)));
      return widths;
    }
    while (std::getline(stream, item, ',')) {
      std::size_t used = 0;
      widths.push_back(std::stoll(item, &used));
      if (used != item.size() || widths.back() < 1 || widths.back() > 65536) return refuse();
    }
  } catch (const std::exception&) {
    return refuse();
  }
  return widths.size() == known.full.size() && text.back() != ',' ? widths : refuse();
}

const char* name_of(Activation activation) {
  return activation == Activation::swish  ? "swish"
         : activation == Activation::relu ? "relu"
                                          : "none";
}
Activation parse_activation(const std::string& name) {
  for (Activation a : {Activation::none, Activation::swish, Activation::relu})
    if (name == name_of(a)) return a;
  user_error("unknown activation '", name, "'; there are: swish, relu, none");
}

}  // namespace fission
