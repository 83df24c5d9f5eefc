// Facts of the images: crops, what is skipped and counted, who stops, and the loader over them.
#include "tests/data/image_folder.h"

#include <cmath>

#include "tests/two_processes.h"

using namespace fission;
using namespace fission::data;
using namespace fission::test;

namespace {

Bytes image_of(const FolderImages& p, Index i, const Random* random = nullptr) {
  Bytes out(std::size_t(p.shape()[1] * p.shape()[2] * 3));
  p.write(i, random, out.data());
  return out;
}

bool can_decode() {
  if (!have_decoder(Decoder::best)) MESSAGE("skipped: this build decodes no images");
  return have_decoder(Decoder::best);
}

}  // namespace

TEST_CASE("folder_images: evaluation is torchvision's Resize and CenterCrop, to Pillow's pixels") {
  if (!can_decode()) return;
  Tree t(false);
  for (const char* c : {"n01", "n02", "n03"}) t.write(text("val/", c, "/x"), stored("centre/file"));
  ImageFolderOptions o = t.options(Split::test);
  o.size = 28, o.resize = 32;
  int most = largest_difference(image_of(FolderImages(o), 0), stored("centre/pixels"));
  CHECK(most <= (have_decoder(Decoder::libjpeg) ? 0 : 2));  // stb_image's rounding
  o.resize = 0;                                             // 28·256/224
  CHECK(image_of(FolderImages(o), 0).size() == 28 * 28 * 3);
  CHECK(largest_difference(image_of(FolderImages(o), 1), stored("centre/pixels")) == most);
  o.resize = 27;
  check_line(refusal([&] { FolderImages p(o); }), {"resizing to 27", "cutting out 28", "expected"});
}

TEST_CASE("folder_images: random crops have torchvision's areas, shapes and places") {
  Random random(3, random_purpose::augmentation, 9);
  double area = 0, log_aspect = 0, top = 0;
  int mirrored = 0, n = 4000;
  for (Index i = 0; i < n; i++) {
    RandomCrop c = draw_resized_crop(random, i, 1000, 1000);
    const Area& a = c.area;
    REQUIRE((a.top >= 0 && a.left >= 0 && a.height > 0 && a.width > 0 && a.top + a.height <= 1000 &&
             a.left + a.width <= 1000));
    double share = double(a.height * a.width) / 1e6, aspect = double(a.width) / double(a.height);
    REQUIRE((share > 0.079 && share < 1.001));  // rounding of the sides
    REQUIRE((aspect > 0.745 && aspect < 1.342));
    area += share / n, log_aspect += std::log(aspect) / n, mirrored += c.mirror;
    if (a.height < 1000) top += double(a.top) / double(1000 - a.height) / n;
  }
  // Crops that do not fit are drawn again, so that large areas are rarer than uniform's mean .54:
  // .4779 ± .0005, by 200000 draws of torchvision's lines in Python; here a standard error of
  // .0037. Logarithm: uniform in ±.288 or narrower, standard error .0026.
  CHECK(std::abs(area - 0.4779) < 6 * 0.0037);
  CHECK(std::abs(log_aspect) < 6 * 0.0026);
  CHECK(std::abs(top - 0.5) < 6 * 0.0046);     // uniform in 0 … 1
  CHECK(std::abs(mirrored - n / 2) < 6 * 32);  // standard deviation 32
}

TEST_CASE(
    "folder_images: where ten tries fit nowhere, the crop is the centre of the allowed shape") {
  Random random(3, random_purpose::augmentation, 9);
  for (Index i = 0; i < 50; i++) {
    Area wide = draw_resized_crop(random, i, 3, 1000).area,
         tall = draw_resized_crop(random, i, 1000, 3).area;
    CHECK((wide.height == 3 && wide.width == 4 && wide.top == 0 && wide.left == 498));
    CHECK((tall.height == 4 && tall.width == 3 && tall.top == 498 && tall.left == 0));
  }
}

TEST_CASE("folder_images: a training image is its crop, decoded, resized and mirrored") {
  if (!can_decode()) return;
  Tree t;
  ImageFolderOptions o = t.options();
  o.exact = true;
  FolderImages p(o);
  Random random(1, random_purpose::augmentation, 5);
  for (Index i = 0; i < p.folder().count(); i++) {
    const Bytes file = jpeg(i < 5 ? (i % 2 ? "420" : "grey") : "420");
    if (i >= 5 && p.folder().path(i).find("_1.") == std::string::npos) continue;
    RandomCrop crop = draw_resized_crop(random, i, 13, 19);
    Decoded d;
    decode(
        file.data(), file.size(), [&](Index, Index) { return Wanted{crop.area}; }, d);
    Bytes expected(8 * 8 * 3);
    resize(d.view, d.box, 8, 8, {0, 0, 8, 8}, crop.mirror, expected.data());
    CHECK(image_of(p, i, &random) == expected);
  }
}

TEST_CASE("folder_images: what a run must know of it") {
  if (!can_decode()) return;
  Tree t;
  Dataset d = description(FolderImages(t.options()));
  CHECK(d.name == "imagenet");
  CHECK((d.count == 15 && d.height == 8 && d.width == 8 && d.channels == 3 && d.classes == 3));
  CHECK(d.class_names == std::vector<std::string>{"n01", "n02", "n03"});
  CHECK(d.mean == std::vector<double>{0.485, 0.456, 0.406});
  CHECK(d.std == std::vector<double>{0.229, 0.224, 0.225});
}

TEST_CASE("folder_images: a decoder that the build lacks is refused") {
  Tree t;
  for (Decoder d : {Decoder::best, Decoder::stb, Decoder::libjpeg}) {
    ImageFolderOptions o = t.options();
    o.decoder = d;
    if (have_decoder(d)) CHECK(FolderImages(o).shape() == Shape{15, 8, 8, 3});
    else
      check_line(refusal([&] { FolderImages p(o); }),
                 {"this build has no", "libstb-dev", "libjpeg62-turbo-dev"});
  }
}

TEST_CASE(
    "folder_images: training skips a broken file with a line, and the next one takes its place") {
  if (!can_decode()) return;
  Many m(2000, {7, 8});
  m.write(Many::name(8), {});
  m.write(Many::name(9), jpeg("420"));
  ImageFolderOptions o = m.options();
  std::vector<std::string> warnings;
  o.warn = [&](const std::string& l) { warnings.push_back(l); };
  FolderImages p(o);
  Random random(1, random_purpose::augmentation, 5);
  Bytes instead = image_of(p, 7, &random);
  CHECK(p.skipped(alone()) == 2);
  CHECK(warnings.size() == 2);
  check_line(warnings[0], {"skipped", Many::name(7), "JPEG: "});
  CHECK(image_of(p, 7, &random) == instead);
  CHECK(warnings.size() == 2);                             // once each
  RandomCrop crop = draw_resized_crop(random, 7, 13, 19);  // the skipped one's draws
  Decoded d;
  const Bytes file = jpeg("420");
  decode(
      file.data(), file.size(),
      [&](Index, Index) {
        return Wanted{crop.area, 2, 2};
      },
      d);
  Bytes expected(2 * 2 * 3);
  resize(d.view, d.box, 2, 2, {0, 0, 2, 2}, crop.mirror, expected.data());
  CHECK(instead == expected);
}

TEST_CASE("folder_images: the last image's place is taken by the first") {
  if (!can_decode()) return;
  Many m(1000, {999});
  m.write(Many::name(0), jpeg("grey"));
  FolderImages p(m.options());
  CHECK(image_of(p, 0) != image_of(p, 1));
  CHECK(image_of(p, 999) == image_of(p, 0));
}

TEST_CASE("folder_images: more than 0.1 % of broken files stop the run") {
  if (!can_decode()) return;
  Many m(1000, {3, 500});
  FolderImages p(m.options());
  image_of(p, 3);
  check_line(refusal([&] { image_of(p, 500); }), {Many::name(500), "JPEG: ", "2 of 1000 images",
                                                  "expected at most 0.1 %", "--check-data"});
  check_line(refusal([&] { image_of(p, 500); }), {"2 of 1000"});
}

TEST_CASE(
    "folder_images: where no file can be decoded the search ends, whatever share may be broken") {
  if (!can_decode()) return;
  Many m(3, {0, 1, 2});
  ImageFolderOptions o = m.options();
  o.most_broken = 1;
  FolderImages p(o);
  for (int again = 0; again < 2; again++)
    check_line(refusal([&] { image_of(p, 1); }),
               {Many::name(0), "not one of 3 images can be decoded", "--check-data"});
}

TEST_CASE(
    "folder_images: processes count together what they skipped, each file once, and their limit "
    "is one") {
  if (!can_decode()) return;
  Many m(1000, {3, 5, 500});
  for (double most : {0.003, 0.002}) {
    ImageFolderOptions o = m.options();
    o.most_broken = most;
    auto with = [&](std::initializer_list<Index> met) {
      auto p = std::make_unique<FolderImages>(o);
      for (Index i : met) image_of(*p, i);
      return p;
    };
    // Played by one: what process 1 brings to the two sums is heard by process 0, in the order of
    // the processes
    auto first = with({3, 5}), second = with({500, 3});
    testing::Played none(1, {{2, 0}, {3, 5, 0, 0}}), both(0, {{0, 2}, {0, 0, 3, 500}});
    if (most == 0.003) {
      CHECK(second->skipped(none) == 3);
      CHECK(first->skipped(both) == 3);
      CHECK(first->skipped(alone()) == 3);  // each knows of all
      CHECK(none.mine == std::vector<std::vector<double>>{{0, 2}, {0, 0, 3, 500}});
    } else {
      check_line(refusal([&] { first->skipped(both); }),
                 {Many::name(500), "3 of 1000 images", "expected at most 0.2 %"});
    }
  }
}

TEST_CASE(
    "folder_images: what was skipped before changes no image: each time the file alone says "
    "whether it can be decoded") {
  if (!can_decode()) return;
  Many m(1000, {7});
  m.write(Many::name(8), jpeg("grey"));
  FolderImages p(m.options());
  CHECK(image_of(p, 7) == image_of(p, 8));
  m.write(Many::name(7), jpeg("420"));  // fetched again
  const Bytes again = image_of(p, 7);
  CHECK(again == image_of(FolderImages(m.options()), 7));
  CHECK(again != image_of(p, 8));
}

TEST_CASE("folder_images: evaluation stops at a broken file") {
  if (!can_decode()) return;
  Tree t;
  t.write("val/1.JPEG", first(jpeg(), 200));
  t.write(val_label_names[0], line("0\n1\n2\n"));
  FolderImages p(t.options(Split::test));
  image_of(p, 0);
  check_line(refusal([&] { image_of(p, 1); }),
             {"val/1.JPEG", "JPEG: ", "expected a whole image", "--check-data"});
}

TEST_CASE("folder_images: a file that went away is no broken image") {
  if (!can_decode()) return;
  Many m(1000, {});
  FolderImages p(m.options());
  std::filesystem::remove(m / Many::name(4));
  check_line(refusal([&] { image_of(p, 4); }), {Many::name(4), "can't be opened", "No such file"});
  CHECK(p.skipped(alone()) == 0);
}

TEST_CASE("folder_images: check_data lists every broken file, in order, and tells how far it is") {
  if (!can_decode()) return;
  Tree t;
  t.write("train/n02/a.JPEG", {});
  t.write("train/n01/zz.JPEG", line("no image"));
  t.write("train/n03/a.JPEG", first(jpeg("progressive"), 500));
  std::filesystem::create_symlink(t / "nowhere", t / "train/n03/zz\n.JPEG");
  ImageFolderOptions o = t.options();
  check_line(refusal([&] { ImageFolder f(o); }), {"train/n0", "--check-data lists"});
  o.broken_files = true;
  Index last = 0;
  std::vector<std::string> broken_ones =
      check_data(ImageFolder(o), [&](Index done) { last = std::max(last, done); });
  REQUIRE(broken_ones.size() == 4);
  CHECK(broken_ones[0] ==
        t / "train/n01/zz.JPEG: neither JPEG nor PNG: it begins with 6e 6f 20 69");
  CHECK(broken_ones[1] == t / "train/n02/a.JPEG: an empty file");
  check_line(broken_ones[2], {"train/n03/a.JPEG: JPEG: "});
  check_line(broken_ones[3], {"train/n03/zz\\n.JPEG: ", "No such file"});
  CHECK(last == 19);
}

TEST_CASE("folder_images: 1 and 4 threads load the same bytes, and from the middle on") {
  if (!can_decode()) return;
  Tree t;
  auto p = std::make_shared<FolderImages>(t.options());
  Backend& device = open_backend("reference");
  std::vector<std::vector<double>> truth;
  for (int threads : {1, 4}) {
    LoaderOptions o;
    o.batch = 4, o.seed = 2, o.threads = threads;
    Loader loader(p, device, o);
    for (Index i = 0; i < 2 * loader.steps(); i++) {
      Batch b = loader.next(i / loader.steps(), i % loader.steps());
      std::vector<double> all = b.images.to_host(), labels = b.labels.to_host();
      all.insert(all.end(), labels.begin(), labels.end());
      if (threads == 1) truth.push_back(all);
      else CHECK(all == truth[std::size_t(i)]);
    }
    Loader resumed(p, device, o);
    CHECK(resumed.next(1, 2).labels.to_host() ==
          std::vector<double>(truth[6].end() - 4, truth[6].end()));
  }
}

TEST_CASE("folder_images: a run that goes on in mid-epoch reads nothing of what is past") {
  if (!can_decode()) return;
  struct Counting : ImageSource {
    explicit Counting(const ImageFolderOptions& o) : all(o) {}
    FolderImages all;
    mutable std::mutex mutex;
    mutable std::set<Index> read;
    Shape shape() const override { return all.shape(); }
    std::int32_t write(Index i, const Random* random, std::uint8_t* out) const override {
      std::lock_guard<std::mutex> lock(mutex);
      read.insert(i);
      return all.write(i, random, out);
    }
  };
  Tree t;
  auto p = std::make_shared<Counting>(t.options());
  LoaderOptions o;
  o.batch = 2, o.shuffle = false, o.threads = 3, o.ahead = 1;
  Loader loader(p, open_backend("reference"), o);
  loader.next(0, 5);
  loader.next(0, 6);
  std::lock_guard<std::mutex> lock(p->mutex);
  CHECK(p->read.count(10) == 1);
  CHECK(p->read.lower_bound(10) == p->read.begin());
}
