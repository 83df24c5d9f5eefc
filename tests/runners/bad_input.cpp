// Facts of what people give wrongly: one line that names file, place and expectation, status 2, and
// nothing half-written. (What each reader refuses is tested in tests/data and tests/nn: here, that
// the programs end as they should.)
#include <doctest/doctest.h>

#include <cmath>
#include <functional>

#include "nn/io/checkpoint.h"
#include "tests/runners/growth.h"

using namespace fission;
using namespace fission::test;

namespace {

// cifar on data that has one fault: nothing is left, not even the folder of the run
void check_data_refused(const std::string& dataset, const std::string& data,
                        const Arguments& parts) {
  Folder folder;
  check_refused(
      launch("cifar", tiny_growth(folder / "run", {"--dataset", dataset, "--data", data})), parts);
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
}

Bytes bytes_of(const std::string& path) {
  std::string s = read_file(path);
  return Bytes(s.begin(), s.end());
}

const char* train_images = "train-images-idx3-ubyte";
const char* train_labels = "train-labels-idx1-ubyte";

// a copy of the tiny IDX set in which one file has been changed
struct BrokenIdx : Folder {
  explicit BrokenIdx(const std::string& file, const std::function<void(Bytes&)>& change) {
    std::filesystem::copy(images() / "idx", *this / "idx");
    Bytes b = bytes_of(*this / ("idx/" + file));
    change(b);
    write("idx/" + file, b);
  }
};

// a copy of a good checkpoint with other bytes; the header is JSON, so text may take the place of
// text of the same length
struct BrokenCheckpoint : Folder {
  std::string path;
  explicit BrokenCheckpoint(const std::function<void(std::string&)>& change) {
    std::string s = read_file(learned() + "/round-1.safetensors");
    change(s);
    path = write("broken.safetensors", Bytes(s.begin(), s.end()));
  }
};
void replace(std::string& s, const std::string& from, const std::string& to) {
  std::size_t at = s.find(from);
  REQUIRE(at != std::string::npos);
  REQUIRE(from.size() == to.size());
  s.replace(at, from.size(), to);
}
void check_checkpoint_refused(const std::string& path, const Arguments& parts) {
  for (const char* program : {"eval", "inspect", "export"}) {
    CAPTURE(program);
    ProcessResult e =
        launch(program, std::string(program) == "eval" ? Arguments{path, "--data", images() / "idx"}
                                                       : Arguments{path});
    check_refused(e, Arguments{std::string(program) + ": " + path} + parts);
    CHECK(e.out == "");
  }
}
// A checkpoint whose tensors or metadata say something else
void check_edited_refused(const std::function<void(TensorFile&)>& edit, const Arguments& parts) {
  Folder folder;
  TensorFile file = read_safetensors(learned() + "/round-1.safetensors");
  edit(file);
  write_safetensors(folder / "edited.safetensors", file);
  check_checkpoint_refused(folder / "edited.safetensors", parts);
}

}  // namespace

TEST_CASE("bad data: a missing folder, and a folder without the files, are refused") {
  check_data_refused("fashion-mnist", "/no/such/folder",
                     {"/no/such/folder: no such folder; expected the files of fashion-mnist"});
  Folder empty;
  check_data_refused("fashion-mnist", empty.str(), {train_images, "expected"});
  check_data_refused("cifar10", empty.str(),
                     {"data_batch_1.bin: no such file", "cifar-10-binary.tar.gz"});
}

TEST_CASE("bad data: truncated, oversized and empty files are refused, with the byte") {
  BrokenIdx cut(train_images, [](Bytes& b) { b.pop_back(); });
  check_data_refused("fashion-mnist", cut / "idx",
                     {train_images, text("truncated, ends at byte ", 16 + 48 * 784 - 1)});
  BrokenIdx longer(train_images, [](Bytes& b) { b.push_back(0); });
  check_data_refused("fashion-mnist", longer / "idx",
                     {train_images, text("too long, goes on at byte ", 16 + 48 * 784)});
  BrokenIdx empty(train_labels, [](Bytes& b) { b.clear(); });
  check_data_refused("fashion-mnist", empty / "idx", {train_labels, "empty; expected"});
  Folder cifar;
  cifar.write("c/data_batch_1.bin", Bytes(3073 * 2 + 5));
  check_data_refused("cifar10", cifar / "c",
                     {"data_batch_1.bin: ends at byte 6151, inside record 2; expected 10000 "
                      "records of 3073 bytes"});
}

TEST_CASE("bad data: a label out of range is refused, with its record and byte") {
  BrokenIdx label(train_labels, [](Bytes& b) { b[8 + 20] = 10; });
  check_data_refused("fashion-mnist", label / "idx",
                     {train_labels, "label 10 in record 20 (byte 28); expected 0 to 9"});
}

TEST_CASE("bad data: a gzip that ends early is refused, and a whole one is read") {
  BrokenIdx whole(train_images, [](Bytes& b) { b = gzip(b); });
  Folder out;
  ProcessResult e =
      launch("cifar", tiny_growth(out / "run", {"--data", whole / "idx", "--rounds", "0"}));
  if (e.err.find("zlib") != std::string::npos)
    return check_refused(e, {train_images});  // a build without it
  require_done(e);
  BrokenIdx cut(train_images, [](Bytes& b) { b = gzip(b), b.resize(b.size() / 2); });
  check_data_refused("fashion-mnist", cut / "idx", {train_images, "gzip", "expected"});
}

TEST_CASE(
    "bad checkpoint: a missing, empty or cut file, or no safetensors file at all, is refused") {
  check_checkpoint_refused("/no/such.safetensors",
                           {"can't be opened (No such file or directory), expected"});
  check_checkpoint_refused(BrokenCheckpoint([](std::string& s) { s.clear(); }).path, {"expected"});
  check_checkpoint_refused(BrokenCheckpoint([](std::string& s) { s.pop_back(); }).path,
                           {"expected"});
  check_checkpoint_refused(BrokenCheckpoint([](std::string& s) { s += '\0'; }).path, {"expected"});
  check_checkpoint_refused(
      BrokenCheckpoint([](std::string& s) { s.replace(0, 8, "PK\3\4\0\0\0\0"); }).path,
      {"expected"});
  check_checkpoint_refused(BrokenCheckpoint([](std::string& s) { s[7] = '\x7f'; }).path,
                           {"expected"});
  check_checkpoint_refused(BrokenCheckpoint([](std::string& s) { s[8] = '['; }).path,
                           {"header", "expected"});
}

TEST_CASE("bad checkpoint: wrong offsets, dtypes and shapes are refused") {
  auto replaced = [](const std::string& from, const std::string& to) {
    return BrokenCheckpoint([&](std::string& s) { replace(s, from, to); });
  };
  check_checkpoint_refused(replaced("\"data_offsets\":[0,", "\"data_offsets\":[4,").path,
                           {"expected"});
  check_checkpoint_refused(replaced("\"dtype\":\"F32\"", "\"dtype\":\"I32\"").path,
                           {"I32", "expected F32"});
  check_checkpoint_refused(replaced("\"dtype\":\"F32\"", "\"dtype\":\"BF1\"").path,
                           {"BF1", "expected"});
  check_edited_refused(
      [](TensorFile& f) {
        std::swap(f.tensors["linear.weight"].shape[0], f.tensors["linear.weight"].shape[1]);
      },
      {"linear.weight", "expected"});
}

TEST_CASE(
    "bad checkpoint: a missing or surplus tensor, and metadata of another network, are refused by "
    "name") {
  check_edited_refused([](TensorFile& f) { f.tensors.erase("linear.bias"); },
                       {"linear.bias", "missing"});
  check_edited_refused([](TensorFile& f) { f.tensors["extra"] = f.tensors["linear.bias"]; },
                       {"tensor 'extra' is no part of a mobilenet_v1"});
  check_edited_refused([](TensorFile& f) { f.metadata["widths"] = four_wide; }, {"expected"});
  check_edited_refused([](TensorFile& f) { f.metadata["model"] = "resnet"; },
                       {"unknown model 'resnet'"});
  check_edited_refused([](TensorFile& f) { f.metadata["format"] = "fission 99"; },
                       {"'fission 99', expected 'fission 1'"});
  check_edited_refused([](TensorFile& f) { f.metadata.erase("classes"); }, {"classes"});
}

TEST_CASE(
    "bad checkpoint: widths in the metadata that would fill the memory are refused, not believed") {
  std::string wide = "65536";
  for (int i = 1; i < 14; i++) wide += ",65536";
  check_edited_refused([&](TensorFile& f) { f.metadata["widths"] = wide; }, {"expected"});
}

TEST_CASE("bad checkpoint: a run doesn't go on from one with damage, and leaves it as it is") {
  for (const std::string damage : {"cut", "history", "stage", "momentum"}) {
    CAPTURE(damage);
    Folder folder;
    ProcessResult killed = launch(Launch{"cifar", tiny_growth(folder / "run"), "after-log:4"});
    REQUIRE(killed.signal != 0);
    std::string path = folder / "run/checkpoint.safetensors";
    TensorFile file = read_safetensors(path);
    if (damage == "history") file.metadata["history"] = "[{\"round\":null}]";
    if (damage == "stage") file.metadata["stage"] = "lunch";
    if (damage == "momentum")
      file.tensors.erase("rq/v/linear.bias"), file.tensors.erase(file.tensors.lower_bound("rq/"));
    write_safetensors(path, file);
    if (damage == "cut") std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
    Contents before = contents(folder / "run");
    check_refused(launch("cifar", tiny_growth(folder / "run")), {path, "expected"});
    CHECK(differing(contents(folder / "run"), before) == "");
  }
}

TEST_CASE(
    "bad options: unknown ones, values that are none, and values out of range end with one line "
    "and nothing written") {
  Folder folder;
  for (const Arguments& wrong : std::vector<Arguments>{{"--no-such-option"},
                                                       {"surplus"},
                                                       {"--epochs"},
                                                       "--epochs many",
                                                       "--epochs -1",
                                                       "--epochs 1.5",
                                                       "--lr -1",
                                                       "--lr 1e30",
                                                       "--grow 1.5",
                                                       "--dataset imagenet",
                                                       "--widths 4,4",
                                                       "--widths 0",
                                                       "--activation tanh",
                                                       "--model resnet",
                                                       "--model mobilenet_v2",
                                                       "--linear-curvature half",
                                                       "--schedule linear",
                                                       "--decay biases",
                                                       "--selection best",
                                                       "--energy joule",
                                                       "--energy table:",
                                                       "--energy table:/no/such/file",
                                                       "--multiple 3",
                                                       "--energy-scale cube",
                                                       "--rounding up",
                                                       "--split-step half",
                                                       {"--carry-momentum=keep"},
                                                       "--matrix flat",
                                                       "--solver gmres",
                                                       "--rq-loss mse",
                                                       "--device no-such-device",
                                                       "--seed -1",
                                                       "--batch 0",
                                                       "--rq-epochs 0",
                                                       "--threads -1",
                                                       "--loader-threads -1",
                                                       "--first 1000",
                                                       "--target-macs 1000",
                                                       "--target-macs ,140000",
                                                       "--target-macs=140000,,150000",
                                                       "--momentum 2",
                                                       "--smoothing 2",
                                                       "--epsilon -1",
                                                       "--check-images 0",
                                                       "--checkpoint-minutes -1"}) {
    CAPTURE(text(wrong[0], " ", wrong.back()));
    check_refused(launch("cifar", tiny_growth(folder / "run", wrong)), {"cifar: "});
    CHECK_FALSE(std::filesystem::exists(folder / "run"));
  }
  check_refused(launch("cifar", tiny_growth(folder / "run", "--bn-batch 5")),
                {"--batch 16: expected a multiple of --bn-batch 5"});
  check_refused(launch("eval", {}), {"checkpoint"});
  check_refused(launch("eval", {learned() + "/round-1.safetensors", "--split", "validation"}),
                {"validation"});
  check_refused(launch("inspect", {}), {"checkpoint"});
  check_refused(launch("bench", "--widths 0.125,wide --jobs eval --batch 1 --json"), {"wide"});
  check_refused(launch("bench", "--model resnet --widths 0.125 --jobs eval --json"),
                {"'resnet'", "mobilenet_v2"});
}

TEST_CASE("bad place: a run's folder below a file is refused, and the file is as before") {
  Folder folder;
  std::string file = folder.write("file", {'x'});
  check_refused(launch("cifar", tiny_growth(file + "/run")),
                {file + "/run: directory: " + file + " is a file, expected a directory"});
  check_refused(launch("cifar", tiny_growth(file)), {file});
  CHECK(read_file(file) == "x");
}

TEST_CASE(
    "full disk: a checkpoint that can't be written leaves the previous one whole, and the run goes "
    "on when there is room") {
  Folder folder;
  Arguments command = tiny_growth(folder / "run", "--checkpoint-minutes 0");
  CHECK(launch(Launch{"cifar", command, "before-write:9"}).signal != 0);
  std::string path = folder / "run/checkpoint.safetensors", before = read_file(path);
  Launch full{"cifar", command};
  full.largest_file = 8192;  // room for the log, not for a checkpoint
  check_refused(launch(full), {"checkpoint.safetensors: byte 8192: could not be written (File too "
                               "large), expected to write ",
                               " is unchanged"});
  CHECK(read_file(path) == before);
  CHECK(names(contents(folder / "run")).find(".tmp") == std::string::npos);
  require_done(launch("cifar", command));
  Folder other;
  require_done(launch("cifar", tiny_growth(other / "run")));
  CHECK(differing(contents(folder / "run"), contents(other / "run")) == "");
}

TEST_CASE("full disk: a log line that can't be added ends the run, and no part of it stays") {
  Folder folder;
  Launch full{"cifar", tiny_growth(folder / "run", "--rounds 0 --epochs 150 --first 16")};
  full.crash_at = "after-log:1";
  CHECK(launch(full).signal == SIGKILL);
  full.crash_at = "";
  full.largest_file =  // room for a checkpoint, but not for as many lines
      512 + std::filesystem::file_size(folder / "run/checkpoint.safetensors");
  check_refused(launch(full), {"log.jsonl: byte ", "the log is as before"});
  CHECK(read_file(folder / "run/log.jsonl").back() == '\n');
}

TEST_CASE(
    "loss: one that is no number stops the run with a line, status 2, and the last good "
    "checkpoint") {
  Folder folder;
  Arguments command = tiny_growth(folder / "run", "--tune-lr 1e15");
  check_refused(launch("cifar", command),
                {"the loss is not finite in round 1, epoch 1, step 3", "--tune-lr"});
  TensorFile file = read_safetensors(folder / "run/checkpoint.safetensors");
  CHECK(file.metadata_at("stage") + file.metadata_at("epoch") + file.metadata_at("step") ==
        "train00");  // after the split
  ProcessResult e =
      launch("eval", {folder / "run/checkpoint.safetensors", "--data", images() / "idx", "--json"});
  require_done(e);
  CHECK(json_in(e.out).at("loss").is_number());
  for (const Json& line : log_of(folder / "run"))
    for (const auto& item : line.items())
      CHECK_MESSAGE(!item.value().is_null(), item.key());  // NaN is written as null
}

TEST_CASE(
    "loss: with a checkpoint after every step, none with a number that is not finite is written") {
  for (const std::string lr : {"1e12", "1e15"}) {
    CAPTURE(lr);
    Folder folder;
    check_refused(launch("cifar", tiny_growth(folder / "run",
                                              {"--tune-lr", lr, "--checkpoint-minutes", "0"})),
                  {"stays"});
    for (const auto& t : read_safetensors(folder / "run/checkpoint.safetensors").tensors) {
      CAPTURE(t.first);
      bool finite = true;
      for (double v : t.second.as_doubles()) finite = finite && std::isfinite(v);
      CHECK(finite);
    }
    CHECK(names(contents(folder / "run")).find(".tmp") == std::string::npos);
  }
}

TEST_CASE(
    "loss: one that overflows in an epoch's only step, after the last look at it, is seen by the "
    "evaluation") {
  Folder folder;
  check_refused(launch("cifar", tiny_growth(folder / "run", "--lr 1e15 --batch 48")),
                {"the loss is not finite in round 0, epoch 1"});
  CHECK(names(contents(folder / "run")) == "checkpoint.safetensors config.json log.jsonl ");
  CHECK(read_safetensors(folder / "run/checkpoint.safetensors").metadata_at("epoch") == "0");
  CHECK(read_file(folder / "run/log.jsonl") == "");
}
