// Facts of checkpoints: they come back bit by bit, they are in PyTorch's layouts, and what is not a
// checkpoint of the network is refused in one line that names the file and the tensor.
#include "nn/io/checkpoint.h"

#include "tests/nn/scratch.h"
#include "tests/small_network.h"

using namespace fission;
using namespace fission::testing;

namespace {
TensorFile stored(const Small& s) {
  TensorFile file;
  file.path = "some.ckpt";
  store_network(file, *s.network);
  return file;
}
StoredTensor f32(const std::vector<std::int64_t>& shape) {
  std::int64_t n = 1;
  for (std::int64_t d : shape) n *= d;
  return StoredTensor::of(shape, std::vector<float>(std::size_t(n), 1.0f));
}
std::string refusal_of(const TensorFile& file) {
  return refusal([&] { load_network(file, open_backend("auto")); });
}
void check_names(const std::string& message, std::initializer_list<const char*> parts) {
  INFO(message);
  for (const char* part : parts) {
    INFO("wanted: ", part);
    CHECK(has(message, part));
  }
}
Machine f32_machine() { return machines()[1]; }
const char* const weight = "layers.3.sp_conv.conv2d.weight";
}  // namespace

TEST_CASE("checkpoint: a network comes back from its file bit by bit, f32 and f64") {
  for (const Machine& m : machines())
    for (const auto& widths : small_models) {
      Scratch dir;
      Small s(m, Activation::relu, widths);
      write_safetensors(dir / "n.ckpt", stored(s));
      auto again = load_network(read_safetensors(dir / "n.ckpt"), m.backend, m.type);
      CHECK(again->config().model == s.network->config().model);
      CHECK(again->parameters().to_host() == s.network->parameters().to_host());
      CHECK(again->statistics().to_host() == s.network->statistics().to_host());
      CHECK(s.logits(*again).to_host() == s.logits(*s.network).to_host());
    }
}
TEST_CASE("checkpoint: the configuration comes back from the metadata") {
  NetworkConfig c;
  c.widths = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
  c.classes = 3, c.size = 17, c.channels = 2, c.stem_stride = 2, c.activation = Activation::relu;
  TensorFile file;
  store_network(file, *make_network(c, open_backend("reference"), DType::f32, 0));
  NetworkConfig again = read_config(file);
  CHECK(again.model == c.model);
  CHECK(again.widths == c.widths);
  CHECK(again.classes == 3);
  CHECK(again.size == 17);
  CHECK(again.channels == 2);
  CHECK(again.stem_stride == 2);
  CHECK(again.activation == Activation::relu);
}
TEST_CASE("checkpoint: dense filters are stored as (O,I,K,K), depthwise ones as (C,1,K,K)") {
  for (const auto& widths : small_models) {
    Small s(machines()[0], Activation::swish, widths);
    TensorFile file = stored(s);
    for (const Stored& w : s.network->stored()) {
      bool depthwise = w.kind == Stored::depthwise;
      if (!depthwise && w.kind != Stored::dense) continue;
      std::vector<double> ours = w.value.to_host(), theirs = numbers(file, w.name);
      Index k = w.shape[depthwise ? 0 : 1], o = depthwise ? w.shape[2] : w.shape[0],
            c = depthwise ? 1 : w.shape[3];
      CHECK(file.at(w.name).shape == std::vector<std::int64_t>{o, c, k, k});
      for (Index n = 0; n < o; n++)
        for (Index i = 0; i < c; i++)
          for (Index h = 0; h < k; h++)
            for (Index v = 0; v < k; v++) {
              double mine =
                  depthwise ? ours[(h * k + v) * o + n] : ours[((n * k + h) * k + v) * c + i];
              CHECK(theirs[((n * c + i) * k + h) * k + v] == mine);
            }
    }
  }
}
TEST_CASE("checkpoint: from_pytorch undoes to_pytorch for every stored tensor") {
  Small s;
  for (const Stored& t : s.network->stored()) {
    std::vector<double> v = t.value.to_host();
    CHECK(from_pytorch(t, to_pytorch(t, v)) == v);
  }
}
TEST_CASE("checkpoint: a flat buffer comes back bit by bit") {
  for (const Machine& m : machines()) {
    Small s(m, Activation::swish, small_v2);
    TensorFile file = stored(s);
    Tensor momentum = random_flat(*s.network, 3), again = s.network->like_parameters();
    store_flat(file, *s.network, "sgd/", momentum);
    load_flat(file, *s.network, "sgd/", again);
    CHECK(again.to_host() == momentum.to_host());
  }
}
TEST_CASE("checkpoint: any tensor comes back as it lies, floats and integers") {
  Machine m = f32_machine();
  TensorFile file;
  Tensor hits = Tensor::from(m.backend, {2}, std::vector<std::int32_t>{7, -1});
  Tensor sums = Tensor::from(m.backend, {3}, std::vector<float>{0.1f, 2, -3});
  store_tensor(file, "meter/hits", hits);
  store_tensor(file, "rq/sum_r", sums);
  Tensor h = hits.like(), r = sums.like();
  load_tensor(file, "meter/hits", h);
  load_tensor(file, "rq/sum_r", r);
  CHECK(h.to_host() == hits.to_host());
  CHECK(r.to_host() == sums.to_host());
}
TEST_CASE(
    "checkpoint: an f32 file makes the same f64 network; an f64 file is refused by an f32 one") {
  Small single(f32_machine());
  auto wide = load_network(stored(single), open_backend("reference"), DType::f64);
  CHECK(wide->parameters().to_host() == single.network->parameters().to_host());
  check_names(refusal_of(stored(Small())), {"some.ckpt", "F32", "F64"});
}
TEST_CASE("checkpoint: what owners keep beside the network is left alone") {
  TensorFile file = stored(Small(f32_machine()));
  for (const char* name : {"sgd/linear.bias", "rq/v/linear.bias", "meter/loss"})
    file.tensors[name] = f32({1});
  CHECK(refusal_of(file) == "");
}

TEST_CASE("checkpoint: another format version is refused") {
  TensorFile file = stored(Small(f32_machine()));
  file.metadata["format"] = "fission 9";
  check_names(refusal_of(file), {"some.ckpt", "'fission 9'", "'fission 1'"});
}
TEST_CASE("checkpoint: missing metadata is named") {
  for (const char* key :
       {"format", "model", "widths", "classes", "size", "channels", "stem_stride", "activation"}) {
    TensorFile file = stored(Small(f32_machine()));
    file.metadata.erase(key);
    check_names(refusal_of(file), {"some.ckpt", key});
  }
}
TEST_CASE("checkpoint: metadata that makes no network is refused") {
  using Entry = std::pair<const char*, const char*>;
  for (auto [key, value] : {Entry{"classes", "0"},
                            {"classes", "ten"},
                            {"size", "-32"},
                            {"size", "99999"},
                            {"channels", ""},
                            {"stem_stride", "3"},
                            {"activation", "gelu"},
                            {"model", "resnet"},
                            {"widths", "1,2"}}) {
    TensorFile file = stored(Small(f32_machine()));
    file.metadata[key] = value;
    INFO(key);
    check_names(refusal_of(file), {"some.ckpt", value});
  }
}
TEST_CASE("checkpoint: a negative variance is refused, the tensor named") {
  TensorFile file = stored(Small(f32_machine()));
  const char* name = "layers.3.sp_conv.bn.running_var";
  StoredTensor& t = file.tensors.at(name);
  std::vector<float> values(std::size_t(t.numel()), 1.0f);
  values.back() = -1e-3f;
  t = StoredTensor::of(t.shape, values);
  check_names(refusal_of(file), {"some.ckpt", name, "-0.001", "expected variances"});
}
TEST_CASE(
    "checkpoint: PyTorch's num_batches_tracked is left alone, another network's MACs are not") {
  TensorFile file = stored(Small(f32_machine()));
  file.tensors["layers.3.sp_conv.bn.num_batches_tracked"] =
      StoredTensor::of({}, std::vector<std::int64_t>{9});
  CHECK(refusal_of(file) == "");
  file.metadata["macs"] = "1";
  check_names(refusal_of(file), {"some.ckpt", "'macs'", "'1'", "as these widths make"});
}
TEST_CASE("checkpoint: a network of far more numbers than the file holds is not made") {
  for (const auto& widths : small_models) {
    TensorFile file = stored(Small(f32_machine(), Activation::swish, widths));
    file.metadata["classes"] = "1000000";
    check_names(refusal_of(file), {"some.ckpt", "1000000 classes", "expected no more than"});
  }
  // skips reach over an axis: products of neighbours alone do not tell
  TensorFile file = stored(Small(f32_machine(), Activation::swish, small_v2));
  std::string wide = "1";
  for (int i = 1; i < 35; i++) wide += i % 2 ? ",60000" : ",1";
  file.metadata["widths"] = wide;
  check_names(refusal_of(file), {"some.ckpt", "expected no more than"});
}
TEST_CASE("checkpoint: a missing tensor is named") {
  TensorFile file = stored(Small(f32_machine()));
  file.tensors.erase(weight);
  check_names(refusal_of(file), {"some.ckpt", weight});
}
TEST_CASE("checkpoint: a surplus tensor is named, with the widths it is no part of") {
  TensorFile file = stored(Small(f32_machine()));
  file.tensors["layers.14.bn.weight"] = f32({2});
  check_names(refusal_of(file),
              {"some.ckpt", "layers.14.bn.weight", "3,4,3,5,4,3,4,3,3,4,3,3,4,5"});
}
TEST_CASE("checkpoint: an owner's name without its slash is a surplus tensor") {
  TensorFile file = stored(Small(f32_machine()));
  file.tensors["sgdx/linear.bias"] = f32({2});
  check_names(refusal_of(file), {"some.ckpt", "sgdx/linear.bias"});
}
TEST_CASE("checkpoint: a tensor of another shape is named") {
  TensorFile file = stored(Small(f32_machine()));
  file.tensors[weight] = f32({3, 5, 1, 1});
  check_names(refusal_of(file), {"some.ckpt", weight});
}
TEST_CASE("checkpoint: a tensor of another type is named") {
  TensorFile file = stored(Small(f32_machine()));
  file.tensors["linear.bias"] = StoredTensor::of({4}, std::vector<std::int32_t>{1, 2, 3, 4});
  check_names(refusal_of(file), {"some.ckpt", "linear.bias", "I32", "F32"});
}
TEST_CASE("checkpoint: parameters for other widths are refused, the first that differs named") {
  TensorFile file = stored(Small(f32_machine()));
  file.metadata["widths"] = "3,4,3,6,4,3,4,3,3,4,3,3,4,5";
  check_names(refusal_of(file), {"some.ckpt", weight});
}
TEST_CASE("checkpoint: weights that are no numbers are refused, the tensor named") {
  for (float bad : {float(NAN), float(INFINITY)}) {
    TensorFile file = stored(Small(f32_machine()));
    std::vector<double> values = file.at("linear.bias").as_doubles();
    std::vector<float> changed(values.begin(), values.end());
    changed[0] = bad;
    file.tensors["linear.bias"] = StoredTensor::of(file.at("linear.bias").shape, changed);
    check_names(refusal_of(file), {"some.ckpt", "linear.bias", "NaN"});
  }
}
TEST_CASE("checkpoint: a file with NaN is refused before it is written, the tensor named") {
  TensorFile file = stored(Small(f32_machine()));
  CHECK(refusal([&] { check_no_nan(file); }) == "");
  file.tensors["sgd/linear.bias"] = StoredTensor::of({2}, std::vector<float>{1, NAN});
  check_names(refusal([&] { check_no_nan(file); }), {"some.ckpt", "sgd/linear.bias", "NaN"});
}
