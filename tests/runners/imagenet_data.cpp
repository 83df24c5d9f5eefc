// Facts of imagenet's images as a run meets them: labels, broken files, a run that goes on,
// memory; and the programs that read its checkpoints.
#include "tests/runners/imagenet.h"

#include "data/image_folder.h"
#include "nn/io/checkpoint.h"
#include "tensor/eigen.h"
#include "tests/near.h"
#include "tests/onnx_model.h"

using namespace fission;
using namespace fission::test;

TEST_CASE(
    "imagenet: a flat val/ with labels, by synset, index or the devkit's number, is the val/ of "
    "folders") {
  Folder folder;
  auto losses = [&](const std::string& name, const Arguments& more) {
    require_done(launch("imagenet", tiny(folder / name, Arguments("--rounds 0") + more)));
    return log_of(folder / name).back().at("test_loss").get<double>();
  };
  std::string indices, devkit, mapping;
  for (int label = 0; label < 6; label++) {
    mapping += text(synset(label), " ", 6 - label, "\n");
    for (int i = 0; i < 4; i++) indices += text(label, "\n"), devkit += text(6 - label, "\n");
  }
  auto file = [&](const std::string& name, const std::string& s) {
    return folder.write(name, Bytes(s.begin(), s.end()));
  };
  const double expected = losses("folders", {});
  CHECK(losses("synsets", {"--data", tree(true), "--val-labels", tree(true) + "/val-labels.txt"}) ==
        expected);
  CHECK(losses("indices", {"--data", tree(true), "--val-labels", file("indices.txt", indices)}) ==
        expected);
  CHECK(losses("devkit", {"--data", tree(true), "--val-labels", file("devkit.txt", devkit),
                          "--devkit-mapping", file("mapping.txt", mapping)}) == expected);
}

TEST_CASE("eval: an ImageNet checkpoint has the log's score, in folders and flat") {
  Folder folder;
  require_done(launch("imagenet", tiny(folder / "run", "--rounds 0")));
  Json last = log_of(folder / "run").back();
  for (bool flat : {false, true}) {
    Arguments how{folder / "run/round-0.safetensors",
                  "--data",
                  tree(flat),
                  "--batch",
                  "16",
                  "--threads",
                  "1",
                  "--json"};
    if (flat) how = how + Arguments{"--val-labels", tree(true) + "/val-labels.txt"};
    ProcessResult e = launch("eval", how);
    require_done(e);
    Json j = json_in(e.out);
    CHECK(j.at("loss") == last.at("test_loss"));
    CHECK(j.at("top1") == last.at("test_top1"));
    CHECK(j.at("images") == 24);
  }
}

TEST_CASE("export and audit: an ImageNet checkpoint has ImageNet's mean and std") {
  Folder folder;
  require_done(launch("imagenet", tiny(folder / "run", "--rounds 0")));
  const std::string checkpoint = folder / "run/round-0.safetensors";
  for (bool raw : {false, true}) {
    ProcessResult e = launch("export", Arguments{checkpoint, "--json", "--out", folder / "x.onnx"} +
                                           (raw ? Arguments{"--raw"} : Arguments{}));
    require_done(e);
    Json j = json_in(e.out);
    CHECK(j.at("dataset") == "imagenet");
    CHECK(j.at("mean") == Json{0.485, 0.456, 0.406});
    CHECK(j.at("std") == Json{0.229, 0.224, 0.225});
    CHECK(j.at("input").at("shape") == Json({"N", 3, 48, 48}));
    const auto initialisers = testing::OnnxModel(read_file(folder / "x.onnx")).initialisers;
    CHECK(initialisers.count("mean") == raw);
    if (raw) CHECK(initialisers.at("std").values[2] == near(0.225).epsilon(1e-7));  // f32
  }
  const Arguments few{checkpoint, "--data",    tree(), "--few",     "3", "--batches",
                      "3",        "--batch",   "8",    "--passes",  "3", "--rq-batch",
                      "8",        "--neurons", "2",    "--threads", "1"};
  ProcessResult e = launch("audit", few);
  if (!have_eigen()) return check_refused(e, {"Eigen"});
  require_done(e);
  CHECK(e.out.find("on 24 training images of imagenet") != std::string::npos);
}

TEST_CASE("imagenet: --size is the side of the images and of the network's input") {
  Folder folder;
  ProcessResult e = launch("imagenet", tiny(folder / "run", "--size 64 --rounds 0"));
  require_done(e);
  CHECK(e.out.find("48 training and 24 validation images of 6 classes, 64x64\n") !=
        std::string::npos);
  CHECK(read_safetensors(folder / "run/round-0.safetensors").metadata_at("size") == "64");
  CHECK(read_safetensors(folder / "run/round-0.safetensors").metadata_at("stem_stride") == "2");
}

TEST_CASE(
    "imagenet: --check-data lists every file that can't be decoded, status 2, and says so where "
    "all can") {
  Folder folder;
  write_image_tree(folder / "tree", {3, 8, 2, false, 2});
  folder.write("tree/val/" + synset(2) + "/empty.JPEG", {});
  ProcessResult e =
      launch("imagenet", tiny(folder / "run", {"--check-data", "--data", folder / "tree"}));
  check_refused(e, {folder / "tree: 3 of 33 files can't be decoded, as listed"});
  for (const char* name : {"_bad0.JPEG: ", "_bad1.JPEG: ", "/empty.JPEG: "})
    CHECK_MESSAGE(e.out.find(name) != std::string::npos, e.out);
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
  ProcessResult clean = launch("imagenet", tiny(folder / "run", {"--check-data"}));
  require_done(clean);
  CHECK(clean.out == tree() + ": all 72 files can be decoded\n");
}

TEST_CASE(
    "imagenet: a broken file is skipped and named within --most-broken, and refused beyond it") {
  Folder folder;
  write_image_tree(folder / "tree", {6, 8, 4, false, 1});
  const Arguments bad{"--data", folder / "tree", "--rounds", "0"};
  check_refused(launch("imagenet", tiny(folder / "run", bad)),
                {"_bad0.JPEG: ", "1 of 49 images can't be decoded so far; expected at most 0.1 %",
                 "--check-data"});
  ProcessResult e = launch(
      "imagenet",
      tiny(folder / "run",
           bad + Arguments("--most-broken 0.03")));  // which the run that stopped may be given
  require_done(e);
  CHECK(is_one_line(e.err));
  CHECK(e.err.find("_bad0.JPEG: ") != std::string::npos);
  CHECK(log_of(folder / "run").at(0).at("skipped_files") == 1);
  CHECK(e.out.find(" images/s; 1 broken files skipped since the start\n") != std::string::npos);
}

TEST_CASE(
    "imagenet: a run goes on with a broken file fetched again, and not with other names or labels "
    "in the same number") {
  Folder folder;
  write_image_tree(folder / "tree", {6, 8, 4, true, 1});
  const std::string labels = folder / "tree/val-labels.txt", out = folder / "run";
  const Arguments a = tiny(out, {"--data", folder / "tree", "--val-labels", labels, "--rounds", "0",
                                 "--most-broken", "0.03"});
  require_done(launch("imagenet", a));
  auto train = [&](const char* name) {
    return folder / ("tree/train/" + synset(0) + "/" + synset(0) + name);
  };
  const std::vector<std::uint8_t> whole = encode(draw_image(0, 0), FileKind::colour);
  folder.write(train("_bad0.JPEG").substr(folder.str().size() + 1), whole);
  ProcessResult on = launch("imagenet", a);
  require_done(on);
  CHECK(on.out.find("going on from ") != std::string::npos);

  auto refused = [&] {
    check_refused(launch("imagenet", a),
                  {out + " holds another run: --data was ", "names' hash", ", now "});
  };
  std::filesystem::rename(train("_bad0.JPEG"), train("_other.JPEG"));
  refused();
  std::filesystem::rename(train("_other.JPEG"), train("_bad0.JPEG"));
  require_done(launch("imagenet", a));
  std::string text = read_file(labels);
  text.replace(0, synset(1).size(), synset(1));
  folder.write("tree/val-labels.txt", {text.begin(), text.end()});
  refused();
}

// A ring's images are the memory of a loader; its labels, and what blocks are rounded up to, are
// a few bytes per image of 48x48x3.
TEST_CASE(
    "imagenet: the loaders of a run at 224x224 and batch 256, and the listing of ImageNet's "
    "training files, are under 300 MB") {
  Folder folder;
  ImagenetOptions o;
  o.growth.data = tree(), o.growth.run.directory = folder / "run", o.size = 48;
  o.growth.run.batch = o.growth.run.rq_batch = o.growth.bn_batch = 16,
  o.growth.run.loader_threads = 1;
  o.growth.run.network.model = "mobilenet_v1";
  o.growth.settle();
  if (!data::have_decoder(data::Decoder::best)) return;
  const data::ImageSets images = open_images(o);
  Backend& backend = open_backend("reference");
  Run run(o.growth.run, o.growth.settings, o.growth.config(), images, backend);
  Arena& arena = backend.arena(Memory::device);
  arena.reset_peak();
  const std::size_t before = arena.statistics().in_use;
  for (int round : {0, 1}) {  // every kind of source, each left with batches prepared ahead
    run.training(round, Stage::train).next(0, 0);
    run.test().next(0, 0);
    run.training(round, Stage::solve).next(0, 0);
    run.check().next(0, 0);
    run.test().next(0, 0);
  }
  const double a_byte = double(arena.statistics().peak - before) / double(16 * 48 * 48 * 3);
  CHECK(a_byte >= 4);  // the ring's four batches
  // 21 letters and a 0, where each begins, a label: image_folder's fact counts them
  CHECK(a_byte * 256 * 224 * 224 * 3 + 1281167.0 * (22 + 4 + 4) < 300e6);
}

TEST_CASE(
    "image tree: every odd kind of file is what it says it is, and decodes to what was drawn") {
  BlockImage drawn = draw_image(2, 5);
  for (FileKind kind : {FileKind::colour, FileKind::grey, FileKind::cmyk, FileKind::ycck,
                        FileKind::progressive, FileKind::broken_exif, FileKind::png}) {
    CAPTURE(int(kind));
    std::vector<std::uint8_t> file = encode(drawn, kind);
    data::Decoded d;
    if (!data::have_decoder(data::Decoder::best)) return;
    data::decode(
        file.data(), file.size(),
        [](Index height, Index width) -> data::Wanted {
          return {{0, 0, height, width}};
        },
        d);
    CHECK(d.full_height == drawn.down * 8);
    CHECK(d.full_width == drawn.across * 8);
    int worst = 0;  // over all pixels and colours
    for (Index y = 0; y < d.full_height; y++)
      for (Index x = 0; x < d.full_width; x++) {
        const std::array<std::uint8_t, 3>& c =
            drawn.colour[std::size_t(y / 8 * drawn.across + x / 8)];
        const int grey = int(std::lround(0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2]));
        for (int k = 0; k < 3; k++)
          worst = std::max(worst, std::abs(int(d.view.first[4 * (y * d.view.stride + x) + k]) -
                                           (kind == FileKind::grey ? grey : int(c[k]))));
      }
    CHECK(worst <=
          (kind == FileKind::png
               ? 0
               : 3));  // luma and two colour differences rounded, times up to 1.772 on the way back
  }
}
