// Facts of nn/safetensors: one line for every way a file can be wrong.
#include <doctest/doctest.h>

#include <ctime>

#include "nn/io/safetensors.h"
#include "tensor/check.h"
#include "tests/nn/scratch.h"

using namespace fission;

namespace {

std::string whole_file(const std::string& header, std::size_t data_bytes) {
  return length_bytes(header.size()) + header + std::string(data_bytes, '\1');
}

// What reading a file of these bytes says after its path; "" if it is read.
std::string refusal_of(const std::string& contents) {
  Scratch dir;
  const std::string path = dir / "bad.safetensors";
  put(path, contents);
  const std::string message = refusal([&] { read_safetensors(path); });
  if (message.empty()) return message;
  CHECK(message.substr(0, path.size() + 2) == path + ": ");
  CHECK(has(message, ", expected "));
  return message.substr(path.size() + 2);
}
std::string header_refusal(const std::string& header, std::size_t data_bytes = 8) {
  return refusal_of(whole_file(header, data_bytes));
}

}  // namespace

TEST_CASE("safetensors: a missing file is refused, with the system's reason") {
  Scratch dir;
  CHECK(has(refusal([&] { read_safetensors(dir / "none"); }),
            (dir / "none") + ": file: can't be opened (No such file or directory)"));
}

TEST_CASE("safetensors: an empty file is refused") {
  CHECK(refusal_of("") == "header length: the file is empty, expected 8 bytes of it and a header");
}

TEST_CASE("safetensors: a file shorter than the header length's 8 bytes is refused") {
  CHECK(refusal_of("abc") ==
        "header length: the file has 3 bytes, expected 8 bytes of it and a header");
}

TEST_CASE("safetensors: a header longer than the file is refused, naming both lengths") {
  CHECK(refusal_of(length_bytes(50) + "{}") ==
        "header length: 50 bytes, expected at most the 2 bytes that follow it");
}

TEST_CASE("safetensors: an absurd header length is refused, up to 2^64 - 1") {
  CHECK(has(refusal_of(length_bytes(100'000'001) + "{}"),
            "header length: 100000001 bytes, expected at most 100000000"));
  CHECK(has(refusal_of(length_bytes(~std::uint64_t(0)) + "{}"),
            "header length: 18446744073709551615 bytes"));
}

TEST_CASE("safetensors: a header of no bytes is refused") {
  CHECK(refusal_of(length_bytes(0)) ==
        "header, byte 8 of the file: nothing, expected '{', the start of a JSON object");
}

TEST_CASE("safetensors: a header that is JSON but no object is refused") {
  CHECK(header_refusal("[1]", 0) ==
        "header, byte 8 of the file: '[', expected '{', the start of a JSON object");
}

TEST_CASE("safetensors: a header that is not JSON is refused, naming the byte") {
  const std::string message = header_refusal(R"({"w": oops})");
  CHECK(has(message, "header, byte 14 of the file: "));
  CHECK(has(message, "invalid literal"));
  CHECK(has(message, "expected JSON in UTF-8"));
}

TEST_CASE("safetensors: a header that ends within the JSON is refused") {
  CHECK(has(header_refusal(R"({"w": )"), "unexpected end of input"));
}

TEST_CASE("safetensors: a header that is not UTF-8 is refused, naming the byte") {
  const std::string message = header_refusal("{\"w\xff\": 1}");
  CHECK(has(message, "header, byte 11 of the file: "));
  CHECK(has(message, "UTF-8 byte"));
}

TEST_CASE("safetensors: a zero byte in the header is refused, for what follows would be unread") {
  CHECK(header_refusal(std::string("{}\0{}", 5)) ==
        "header, byte 10 of the file: a zero byte, expected JSON in UTF-8");
}

TEST_CASE("safetensors: a number beyond every type is refused, naming the byte") {
  const std::string message = header_refusal(R"({"w": 1e999})");
  CHECK(has(message, "header, byte "));
  CHECK(has(message, "number overflow parsing '1e999'"));
}

TEST_CASE("safetensors: lists within lists are refused at once, however deep") {
  CHECK(has(header_refusal(R"({"w":{"shape":)" + std::string(1000000, '[')),
            "tensor \"w\": lists or objects within each other"));
}

TEST_CASE(
    "safetensors: the time to refuse a header grows with its entries, not with their square") {
  const auto seconds = [](int entries) {
    std::string header = "{";
    for (int i = 0; i < entries; i++) header += "\"" + std::to_string(i) + "\":{},";
    const std::clock_t start = std::clock();
    CHECK(has(header_refusal(header + "\"x\":{}}"), "no dtype"));
    return double(std::clock() - start) / CLOCKS_PER_SEC;
  };
  const double few = seconds(10000);
  CHECK(seconds(100000) < 40 * few);  // the square: 100; 8 to 12 measured
}

TEST_CASE("safetensors: an entry that is no object is refused") {
  CHECK(header_refusal(R"({"w": 7})") ==
        "tensor \"w\": 7, expected an object of dtype, shape and data_offsets");
}

TEST_CASE(
    "safetensors: an entry without dtype, shape or data_offsets is refused, naming what is "
    "missing") {
  CHECK(header_refusal(R"({"w":{"shape":[1],"data_offsets":[0,8]}})") ==
        "tensor \"w\": no dtype, expected dtype, shape and data_offsets");
  CHECK(has(header_refusal(R"({"w":{"dtype":"F64","data_offsets":[0,8]}})"),
            "tensor \"w\": no shape"));
  CHECK(
      has(header_refusal(R"({"w":{"dtype":"F64","shape":[1]}})"), "tensor \"w\": no data_offsets"));
}

TEST_CASE("safetensors: an unknown dtype is refused, naming the known ones") {
  CHECK(header_refusal(R"({"w":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}})") ==
        "tensor \"w\": dtype \"BF16\", expected F32, F64, I64, I32 or U8");
  CHECK(has(header_refusal(R"({"w":{"dtype":3,"shape":[4],"data_offsets":[0,8]}})"),
            "tensor \"w\": dtype 3,"));
}

TEST_CASE("safetensors: a shape that is no list of whole numbers is refused") {
  const auto with_shape = [](const std::string& shape) {
    return header_refusal(R"({"w":{"dtype":"F64","shape":)" + shape + R"(,"data_offsets":[0,8]}})");
  };
  CHECK(with_shape("[1]").empty());
  CHECK(with_shape("1") == "tensor \"w\": shape 1, expected a list of whole numbers");
  CHECK(with_shape("[-1]") ==
        "tensor \"w\": shape holds -1, expected a whole number of 0 to 9223372036854775807");
  CHECK(has(with_shape("[1.5]"), "shape holds 1.5"));
  CHECK(has(with_shape("[\"1\"]"), "shape holds \"1\""));
  CHECK(has(with_shape("[18446744073709551615]"), "shape holds 18446744073709551615"));
  CHECK(has(with_shape("[99999999999999999999]"), "shape holds 1e+20"));
}

TEST_CASE("safetensors: a shape whose product overflows is refused, a factor 0 after it or not") {
  const auto with_shape = [](const std::string& shape) {
    return header_refusal(R"({"w":{"dtype":"F64","shape":)" + shape + R"(,"data_offsets":[0,8]}})");
  };
  CHECK(with_shape("[4294967296,536870912]") ==
        "tensor \"w\": shape (4294967296,536870912), expected less than 2^63 bytes of numbers");
  CHECK(has(with_shape("[9223372036854775807]"), "less than 2^63 bytes"));
  CHECK(has(with_shape("[9223372036854775807,9223372036854775807,0]"), "less than 2^63 bytes"));
}

TEST_CASE("safetensors: data_offsets that are not [begin, end] are refused") {
  const auto with_offsets = [](const std::string& offsets) {
    return header_refusal(R"({"w":{"dtype":"F64","shape":[1],"data_offsets":)" + offsets + "}}");
  };
  CHECK(with_offsets("[0,8]").empty());
  CHECK(with_offsets("[0]") == "tensor \"w\": data_offsets [0], expected [begin, end]");
  CHECK(has(with_offsets("[0,4,8]"), "data_offsets [0,4,8], expected [begin, end]"));
  CHECK(has(with_offsets("[-8,0]"), "data_offsets holds -8"));
  CHECK(has(with_offsets("[0,18446744073709551615]"), "data_offsets holds 18446744073709551615"));
}

TEST_CASE("safetensors: reversed data_offsets are refused") {
  CHECK(header_refusal(R"({"w":{"dtype":"F64","shape":[1],"data_offsets":[8,0]}})") ==
        "tensor \"w\": data_offsets [8,0], expected a begin that is not after the end");
}

TEST_CASE("safetensors: data_offsets beyond the end are refused, as in a file that was cut short") {
  CHECK(header_refusal(R"({"w":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}})", 7) ==
        "tensor \"w\": data_offsets [0,8], expected an end within the file's 7 bytes of data (is "
        "the file whole?)");
}

TEST_CASE(
    "safetensors: data_offsets that don't match dtype and shape are refused, naming both lengths") {
  CHECK(header_refusal(R"({"w":{"dtype":"F32","shape":[3,1],"data_offsets":[0,8]}})") ==
        "tensor \"w\": data_offsets [0,8], 8 bytes, expected 12 bytes for F32 (3,1)");
}

TEST_CASE("safetensors: overlapping tensors are refused") {
  CHECK(
      header_refusal(
          R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})") ==
      "tensor \"b\": begins at byte 4 of the data, within another tensor, expected byte 5");
}

TEST_CASE("safetensors: a hole between tensors, or before the first, is refused") {
  CHECK(
      header_refusal(
          R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})") ==
      "tensor \"b\": begins at byte 4 of the data, after a hole, expected byte 3");
  CHECK(has(header_refusal(R"({"a":{"dtype":"U8","shape":[7],"data_offsets":[1,8]}})"),
            "begins at byte 1 of the data, after a hole"));
}

TEST_CASE("safetensors: bytes after the last tensor are refused, naming where they begin") {
  const std::string header = R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]}})";
  CHECK(header_refusal(header) ==
        "byte " + std::to_string(8 + header.size() + 5) +
            " of the file: 3 bytes after the last tensor, expected the end of the file");
}

TEST_CASE("safetensors: metadata that are not strings are refused") {
  CHECK(header_refusal(R"({"__metadata__":{"epoch":3}})", 0) ==
        "__metadata__: \"epoch\" is 3, expected a string");
  CHECK(header_refusal(R"({"__metadata__":[]})", 0) ==
        "__metadata__: [], expected an object of strings");
}

TEST_CASE("safetensors: a tensor named twice is refused") {
  const std::string entry = R"("w":{"dtype":"F64","shape":[1],"data_offsets":[0,8]})";
  CHECK(header_refusal("{" + entry + "," + entry + "}") ==
        "tensor \"w\": named twice in the header, expected each name once");
}

TEST_CASE("safetensors: a field given twice is refused") {
  CHECK(header_refusal(R"({"w":{"dtype":"U8","shape":[1],"shape":[8],"data_offsets":[0,8]}})") ==
        "tensor \"w\": \"shape\" given twice, expected each field once");
}

TEST_CASE("safetensors: a name of control characters or great length still makes one short line") {
  const std::string message = header_refusal("{\"a\\nb" + std::string(5000, 'x') + "\": 1}");
  CHECK(has(message, "tensor \"a\\nbxxx"));
  CHECK(message.size() < 300);
}
