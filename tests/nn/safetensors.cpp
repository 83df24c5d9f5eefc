// Facts of nn/safetensors: round trips, bytes that don't change, and what random damage can't do.
#include "nn/io/safetensors.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>

#include "nn/io/files.h"
#include "tensor/check.h"
#include "tests/nn/scratch.h"

using namespace fission;

namespace {

std::uint64_t header_length(const std::string& file) {
  std::uint64_t n = 0;
  for (int i = 7; i >= 0; i--) n = n << 8 | std::uint8_t(file[std::size_t(i)]);
  return n;
}

TensorFile sample() {
  TensorFile f;
  f.metadata = {{"model", "mobilenet_v1"}, {"note", "é \"quoted\"\n"}};
  f.tensors["z.f64"] = StoredTensor::of<double>({2, 1}, {0.1, -1e300});
  f.tensors["a.f32"] = StoredTensor::of<float>({3}, {1.5f, -0.f, 3e38f});
  f.tensors["step"] = StoredTensor::of<std::int64_t>({}, {-(std::int64_t(1) << 60)});
  f.tensors["b.i32"] = StoredTensor::of<std::int32_t>({1, 1, 1}, {-7});
  f.tensors["a.u8"] = StoredTensor::of<std::uint8_t>({5}, {0, 1, 2, 254, 255});
  f.tensors["none"] = StoredTensor::of<float>({4, 0}, {});
  return f;
}

}  // namespace

TEST_CASE("safetensors: every dtype comes back with its shape and bits, and so do the metadata") {
  Scratch dir;
  const TensorFile written = sample();
  write_safetensors(dir / "f", written);
  const TensorFile read = read_safetensors(dir / "f");
  CHECK(read.path == dir / "f");
  CHECK(read.metadata == written.metadata);
  REQUIRE(read.tensors.size() == written.tensors.size());
  for (const auto& item : written.tensors) {
    CAPTURE(item.first);
    CHECK(read.at(item.first).dtype == item.second.dtype);
    CHECK(read.at(item.first).shape == item.second.shape);
    CHECK(read.at(item.first).bytes == item.second.bytes);
  }
}

TEST_CASE("safetensors: a file without tensors and metadata is read back") {
  Scratch dir;
  write_safetensors(dir / "f", TensorFile());
  const TensorFile read = read_safetensors(dir / "f");
  CHECK(read.tensors.empty());
  CHECK(read.metadata.empty());
}

TEST_CASE("safetensors: the same tensors give the same bytes, read from a file or not") {
  Scratch dir;
  write_safetensors(dir / "a", sample());
  write_safetensors(dir / "b", read_safetensors(dir / "a"));
  CHECK(read_file(dir / "a") == read_file(dir / "b"));
}

TEST_CASE("safetensors: the bytes of a small file are these") {
  Scratch dir;
  TensorFile f;
  f.metadata["k"] = "v";
  f.tensors["w"] = StoredTensor::of<std::int32_t>({2}, {1, -2});
  write_safetensors(dir / "f", f);
  const std::string header =
      R"({"__metadata__":{"k":"v"},"w":{"data_offsets":[0,8],"dtype":"I32","shape":[2]}})";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  CHECK(read_file(dir / "f") ==
        length_bytes(padded.size()) + padded + std::string("\1\0\0\0\xfe\xff\xff\xff", 8));
}

TEST_CASE(
    "safetensors: the data begin at a multiple of 8, and every tensor at a multiple of its "
    "number's size") {
  Scratch dir;
  for (int extra = 0; extra < 8; extra++) {
    TensorFile f = sample();
    f.metadata["pad"] = std::string(std::size_t(extra), 'x');
    f.tensors["a.bytes"] = StoredTensor::of<std::uint8_t>({3}, {1, 2, 3});
    write_safetensors(dir / "f", f);
    const std::string bytes = read_file(dir / "f");
    const std::uint64_t header = header_length(bytes);
    CHECK(header % 8 == 0);
    for (const auto& item : f.tensors) {
      const std::string name = "\"" + item.first + "\":{\"data_offsets\":[";
      const auto at = bytes.find(name);
      REQUIRE(at != std::string::npos);
      const std::size_t begin = std::size_t(std::atoi(bytes.c_str() + at + name.size()));
      const std::size_t size = item.second.dtype == "U8"             ? 1
                               : item.second.dtype.substr(1) == "64" ? 8
                                                                     : 4;
      CAPTURE(item.first);
      CHECK(begin % size == 0);
    }
  }
}

TEST_CASE("safetensors: numbers of every dtype can be had as doubles") {
  const TensorFile f = sample();
  CHECK(f.at("z.f64").as_doubles() == std::vector<double>{0.1, -1e300});
  CHECK(f.at("a.f32").as_doubles() == std::vector<double>{1.5, 0, double(3e38f)});
  CHECK(f.at("step").as_doubles() == std::vector<double>{-std::pow(2, 60)});
  CHECK(f.at("b.i32").as_doubles() == std::vector<double>{-7});
  CHECK(f.at("a.u8").as_doubles() == std::vector<double>{0, 1, 2, 254, 255});
}

TEST_CASE("safetensors: numbers are had as their own type, and as no other") {
  const TensorFile f = sample();
  CHECK(f.at("step").values<std::int64_t>() == std::vector<std::int64_t>{-(std::int64_t(1) << 60)});
  CHECK_THROWS_AS(f.at("step").values<double>(), InvariantError);
}

TEST_CASE(
    "safetensors: has_nan finds a NaN in F32 and F64, and takes infinity and integers for none") {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              inf = std::numeric_limits<float>::infinity();
  CHECK(has_nan(StoredTensor::of<float>({3}, {1, 2, nan})));
  CHECK(has_nan(StoredTensor::of<double>({2}, {double(nan), 2})));
  CHECK_FALSE(has_nan(StoredTensor::of<float>({2}, {inf, -inf})));
  CHECK_FALSE(has_nan(StoredTensor::of<std::int32_t>({1}, {-1})));
}

TEST_CASE("safetensors: a missing tensor is refused, naming the file and the tensor") {
  TensorFile f = sample();
  f.path = "grown.safetensors";
  CHECK_THROWS_WITH_AS(f.at("fc.weight"),
                       "grown.safetensors: tensor \"fc.weight\": missing, expected it among the "
                       "file's 6 tensors (the first is \"a.f32\")",
                       UserError);
}

TEST_CASE("safetensors: a tensor of another dtype or shape is refused, naming both") {
  TensorFile f = sample();
  f.path = "grown.safetensors";
  CHECK_THROWS_WITH_AS(f.expect("z.f64", "F32", {2, 1}),
                       "grown.safetensors: tensor \"z.f64\": F64 (2,1), expected F32 (2,1)",
                       UserError);
  CHECK_THROWS_WITH_AS(f.expect("step", "I64", {3}),
                       "grown.safetensors: tensor \"step\": I64 (), expected I64 (3)", UserError);
  CHECK(&f.expect("z.f64", "F64", {2, 1}) == &f.at("z.f64"));
}

TEST_CASE("safetensors: missing metadata are refused, naming the file and the key") {
  TensorFile f = sample();
  f.path = "grown.safetensors";
  CHECK(f.metadata_at("model") == "mobilenet_v1");
  CHECK_THROWS_WITH_AS(
      f.metadata_at("seed"),
      "grown.safetensors: __metadata__: \"seed\" is missing, expected it among the file's metadata",
      UserError);
}

TEST_CASE("safetensors: another program's order, spaces and alignment are read") {
  const std::string header =
      R"({"__metadata__": {}, "b": {"shape": [ 1 ], "dtype": "F32", "data_offsets": [3, 7]},
    "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}  )";
  Scratch dir;
  put(dir / "f", length_bytes(header.size()) + header + std::string("\1\1\1\0\0\x80\x3f", 7));
  const TensorFile f = read_safetensors(dir / "f");
  CHECK(f.at("b").as_doubles() == std::vector<double>{1});
  CHECK(f.at("a").as_doubles() == std::vector<double>{1, 1, 1});
}

TEST_CASE(
    "safetensors: a name or metadata that are not UTF-8 are refused, and nothing is written") {
  Scratch dir;
  TensorFile f;
  f.metadata["path"] = "\xff";
  CHECK_THROWS_AS(write_safetensors(dir / "f", f), UserError);
  CHECK_FALSE(std::filesystem::exists(dir / "f"));
}

TEST_CASE(
    "safetensors: a tensor whose bytes don't fit its shape is a broken invariant, and nothing is "
    "written") {
  Scratch dir;
  TensorFile f = sample();
  f.tensors["a.f32"].shape = {4};
  CHECK_THROWS_AS(write_safetensors(dir / "f", f), InvariantError);
  CHECK_FALSE(std::filesystem::exists(dir / "f"));
}

TEST_CASE("safetensors: after random flips and cuts a file is read or refused, never more") {
  Scratch dir;
  write_safetensors(dir / "good", sample());
  const std::string good = read_file(dir / "good");
  const std::size_t header_end = 8 + header_length(good);
  std::mt19937 random(7);
  const auto below = [&](std::size_t n) { return std::size_t(random() % n); };
  const std::string likely = "0123456789-.eE\"{}[]:, \\u\xff";
  int refused = 0, read = 0;
  for (int round = 0; round < 4000; round++) {
    std::string bytes = good;
    const std::size_t flips = below(4);
    for (std::size_t i = 0; i < flips; i++) {
      const std::size_t at = below(8) == 0 ? below(bytes.size()) : below(header_end);
      if (below(2)) bytes[at] = likely[below(likely.size())];
      else bytes[at] = char(bytes[at] ^ (1 << below(8)));
    }
    if (below(4) == 0) bytes.resize(below(bytes.size() + 1));
    if (below(8) == 0)
      bytes.insert(below(bytes.size() + 1), 1 + below(20), likely[below(likely.size())]);
    std::filesystem::remove(
        dir /
        "f");  // a file that is written over is flushed to the disk by some file systems: slow
    put(dir / "f", bytes);
    try {
      const TensorFile f = read_safetensors(dir / "f");
      for (const auto& item : f.tensors) has_nan(item.second);
      read++;
    } catch (const UserError& e) {
      if (std::string(e.what()).find('\n') != std::string::npos) FAIL_CHECK(e.what());
      refused++;
    }
  }
  CHECK(refused > 1000);  // the loop met both ends
  CHECK(read > 100);
}

TEST_CASE("safetensors: Python's package reads the file, and we read the file it writes") {
  if (std::system("python3 -c 'import numpy, safetensors.numpy' 2>/dev/null") != 0) {
    MESSAGE("skipped: python3 has no numpy or no safetensors");
    return;
  }
  Scratch dir;
  write_safetensors(dir / "ours", sample());
  put(dir / "copy.py", R"(
import sys
from safetensors import safe_open
from safetensors.numpy import save_file
with safe_open(sys.argv[1], framework="np") as f:
    save_file({k: f.get_tensor(k) for k in f.keys()}, sys.argv[2], f.metadata())
)");
  REQUIRE(
      std::system(("python3 " + (dir / "copy.py") + " " + (dir / "ours") + " " + (dir / "theirs"))
                      .c_str()) == 0);
  const TensorFile theirs = read_safetensors(dir / "theirs");
  write_safetensors(dir / "again", theirs);
  CHECK(theirs.tensors.size() == 6);
  CHECK(read_file(dir / "again") == read_file(dir / "ours"));
}
