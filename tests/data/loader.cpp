#include "data/loader.h"

#include <chrono>
#include <numeric>
#include <set>

#include "data/augment.h"
#include "tests/data/files.h"
#include "tests/data/queues.h"

using namespace fission;
using namespace fission::data;
using namespace fission::test;

namespace {

// 37 small images; the label is the image's number
Dataset tiny(Index count = 37) {
  Dataset d;
  d.name = "tiny";
  d.count = count, d.height = 6, d.width = 5, d.channels = 3, d.classes = count;
  d.images = noise(std::size_t(count * d.bytes_per_image()));
  d.labels.resize(count);
  std::iota(d.labels.begin(), d.labels.end(), 0);
  d.mean = d.std = {.5, .5, .5};
  d.padding = 2;
  return d;
}

Backend& device() { return open_backend("reference"); }

std::vector<double> joined(std::vector<double> a, const std::vector<double>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
std::vector<double> contents(const Batch& b) {
  return joined(b.labels.to_host(), b.images.to_host());
}

std::vector<double> read(Loader& loader, Index epochs) {
  std::vector<double> all;
  for (Index e = 0; e < epochs; e++)
    for (Index s = 0; s < loader.steps(); s++) all = joined(all, contents(loader.next(e, s)));
  return all;
}
std::vector<double> labels_of(Loader& loader, Index epoch) {
  std::vector<double> all;
  for (Index s = 0; s < loader.steps(); s++)
    all = joined(all, loader.next(epoch, s).labels.to_host());
  return all;
}

LoaderOptions small_batches() {
  LoaderOptions o;
  o.batch = 8;
  o.seed = 5;
  return o;
}

// As the engine promises it, without threads or buffers: (seed, stage, epoch, step) → bytes
std::vector<double> expected(const Dataset& d, const LoaderOptions& o, Index epoch, Index step) {
  std::uint64_t key = std::uint64_t(o.stage) << 24 | std::uint64_t(epoch);
  std::vector<std::uint32_t> order =
      Random(o.seed, random_purpose::order, key).permutation(std::uint32_t(d.count));
  std::vector<double> labels, images;
  for (Index i = step * o.batch; i < std::min(d.count, (step + 1) * o.batch); i++) {
    Bytes out(std::size_t(d.bytes_per_image()));
    Crop crop =
        draw_crop(Random(o.seed, random_purpose::augmentation, key), order[i], d.padding, d.flip);
    write_crop(d.image(order[i]), d.height, d.width, d.channels, crop, out.data());
    labels.push_back(d.labels[order[i]]);
    images.insert(images.end(), out.begin(), out.end());
  }
  return joined(labels, images);
}

// Fails on one image, or takes its time
struct Source : ImageSource {
  Index fails_on = -1;
  int milliseconds = 0;
  mutable std::atomic<int> failures{0}, written{0};
  Shape shape() const override { return {40, 2, 2, 1}; }
  bool reaches(int images) const {  // within a second
    for (int i = 0; i < 1000 && written < images; i++)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return written >= images;
  }
  std::int32_t write(Index i, const Random*, std::uint8_t* out) const override {
    if (milliseconds) std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    if (i == fails_on && failures++ == 0) user_error("[test] image ", i, " is damaged");
    std::fill_n(out, 4, std::uint8_t(i));
    written++;
    return std::int32_t(i);
  }
};

}  // namespace

TEST_CASE("loader: batches are what (seed, stage, epoch, step) says") {
  Dataset d = tiny();
  LoaderOptions o = small_batches();
  o.stage = 3;
  Loader loader(d, device(), o);
  for (Index epoch = 0; epoch < 3; epoch++)
    for (Index step = 0; step < loader.steps(); step++)
      CHECK(contents(loader.next(epoch, step)) == expected(d, o, epoch, step));
}

TEST_CASE("loader: every image appears once an epoch, the last batch is the smaller one") {
  Dataset d = tiny();
  Loader loader(d, device(), small_batches());
  CHECK(loader.steps() == 5);
  CHECK(loader.size() == 37);
  CHECK(loader.next(0, 4).images.shape() == Shape{5, 6, 5, 3});
  CHECK(loader.next(1, 0).images.shape() == Shape{8, 6, 5, 3});
  for (Index epoch = 0; epoch < 3; epoch++) {
    std::vector<double> labels = labels_of(loader, epoch);
    CHECK(labels.size() == 37);
    CHECK(std::set<double>(labels.begin(), labels.end()).size() == 37);
  }
}

TEST_CASE("loader: drop_last leaves the smaller batch out") {
  Dataset d = tiny();
  LoaderOptions o = small_batches();
  o.drop_last = true;
  Loader loader(d, device(), o);
  CHECK(loader.steps() == 4);
  CHECK(loader.size() == 32);
  CHECK(contents(loader.next(0, 3)) == expected(d, o, 0, 3));
  CHECK(contents(loader.next(1, 0)) == expected(d, o, 1, 0));
  o.batch = 38;
  check_line(refusal([&] { Loader(d, device(), o); }),
             {"37 images", "batches of 38", "expected batches of at most 37"});
}

TEST_CASE("loader: a batch larger than the data set is the data set") {
  Dataset d = tiny();
  LoaderOptions o = small_batches();
  o.batch = 100;
  Loader loader(d, device(), o);
  CHECK(loader.steps() == 1);
  for (Index epoch = 0; epoch < 4; epoch++)
    CHECK(contents(loader.next(epoch, 0)) == expected(d, o, epoch, 0));
}

TEST_CASE("loader: epochs, stages and seeds have orders of their own") {
  Dataset d = tiny();
  std::set<std::vector<double>> orders;
  for (std::uint64_t seed : {1, 2})
    for (Index stage : {0, 1, 2}) {
      LoaderOptions o = small_batches();
      o.seed = seed, o.stage = stage;
      Loader loader(d, device(), o);
      for (Index epoch : {0, 1, 2}) orders.insert(labels_of(loader, epoch));
    }
  CHECK(orders.size() == 18);
}

TEST_CASE(
    "loader: order and images do not depend on the number of threads or on how far it looks "
    "ahead") {
  Dataset d = tiny(150);  // a batch of 70 is three shares of work
  LoaderOptions o = small_batches();
  o.batch = 70;
  Loader one(d, device(), o);
  std::vector<double> truth = read(one, 4);
  for (int threads : {1, 2, 5})
    for (Index ahead : {1, 2, 7}) {
      o.threads = threads, o.ahead = ahead;
      Loader loader(d, device(), o);
      CHECK(read(loader, 4) == truth);
    }
}

TEST_CASE("loader: random access gives the same bytes as going through in order") {
  Dataset d = tiny();
  LoaderOptions o = small_batches();
  for (int threads : {1, 2, 5}) {
    o.threads = threads;
    Loader loader(d, device(), o);
    Random random(1, random_purpose::test);
    for (int i = 0; i < 60; i++) {
      Index epoch = random.below(i, 4, 0), step = random.below(i, 5, 1);
      for (Index n = 0; n < 1 + Index(random.below(i, 3, 2)) && step + n < 5; n++)
        CHECK(contents(loader.next(epoch, step + n)) == expected(d, o, epoch, step + n));
    }
  }
}

TEST_CASE("loader: without shuffle and augmentation the images come as they lie") {
  Dataset d = tiny();
  LoaderOptions o = small_batches();
  o.shuffle = o.augment = false;
  Loader loader(d, device(), o);
  for (Index epoch : {0, 1}) {
    std::vector<double> images, labels;
    for (Index s = 0; s < loader.steps(); s++) {
      Batch b = loader.next(epoch, s);
      images = joined(images, b.images.to_host());
      labels = joined(labels, b.labels.to_host());
    }
    CHECK(images == std::vector<double>(d.images.begin(), d.images.end()));
    CHECK(labels == std::vector<double>(d.labels.begin(), d.labels.end()));
  }
}

TEST_CASE("loader: a fixed key gives the same batches in every epoch, and others than epoch 0") {
  Dataset d = tiny();
  LoaderOptions o = small_batches();
  Loader free(d, device(), o);
  o.fixed_key = true;
  Loader fixed(d, device(), o);
  std::vector<double> once = read(fixed, 1);
  for (Index epoch : {1, 2, 9}) {
    std::vector<double> again;
    for (Index s = 0; s < fixed.steps(); s++) again = joined(again, contents(fixed.next(epoch, s)));
    CHECK(again == once);
  }
  CHECK(read(free, 1) != once);
}

TEST_CASE("loader: a batch stays as it is until the next but one is asked for") {
  Dataset d = tiny();
  LoaderOptions o = small_batches();
  o.threads = 2;
  Loader loader(d, device(), o);
  Batch before = loader.next(0, 0);
  for (Index i = 1; i < 40; i++) {
    bool jump = i % 7 == 0;  // neither going on nor seeking takes it away
    Batch now = loader.next(jump ? 9 : i / 5, i % 5);
    Index j = i - 1;
    CHECK(contents(before) == expected(d, o, j % 7 == 0 && j ? 9 : j / 5, j % 5));
    before = now;
  }
}

TEST_CASE("loader: copies and computation wait for each other by events alone") {
  Dataset d = tiny();
  for (auto eager :
       {LateBackend::Eager::none, LateBackend::Eager::compute, LateBackend::Eager::transfer})
    for (int threads : {1, 3}) {
      LateBackend late(eager);
      LoaderOptions o = small_batches();
      o.threads = threads;
      std::vector<Tensor> kept;
      std::vector<std::vector<double>> truth;
      {
        Loader loader(d, late, o);
        for (Index i = 0; i < 60; i++) {
          Index epoch = i % 11 == 10 ? 7 : i / 5, step = i % 5;  // with seeks among them
          Batch b = loader.next(epoch, step);
          kept.push_back(b.labels.clone());  // work on the compute queue, which runs when it likes
          kept.push_back(b.images.clone());
          truth.push_back(expected(d, o, epoch, step));
        }
      }
      for (std::size_t i = 0; i < truth.size(); i++)
        CHECK(joined(kept[2 * i].to_host(), kept[2 * i + 1].to_host()) == truth[i]);
    }
}

TEST_CASE("loader: memory that changed hands is not written before its last owner's work is done") {
  LateBackend late(LateBackend::Eager::transfer);
  void* once = late.allocate(1000);
  late.free(once);
  void* again = late.allocate(1000);
  late.free(again);
  if (once != again) {
    MESSAGE("skipped: memory is not handed out again here (address sanitizer)");
    return;
  }
  Dataset d = tiny();
  Bytes values = noise(8 * 90, 77);
  Tensor old = Tensor::from(late, {8, 6, 5, 3}, values);  // the size of a batch of images
  void* place = old.data();
  Tensor kept = old.clone();  // runs when it is read
  old = Tensor();
  Loader loader(d, late, small_batches());
  bool reused = false;
  for (Index step = 0; step < 5; step++) reused |= loader.next(0, step).images.data() == place;
  CHECK(reused);
  CHECK(kept.to_host() == std::vector<double>(values.begin(), values.end()));
}

TEST_CASE("loader: the steady state takes no new memory") {
  Dataset d = tiny();
  for (int threads : {1, 2}) {
    LoaderOptions o = small_batches();
    o.threads = threads;
    Loader loader(d, device(), o);
    loader.next(0, 0);
    for (Memory kind : {Memory::device, Memory::host}) {
      device().arena(kind).reset_peak();
      Arena::Statistics before = device().arena(kind).statistics();
      for (Index i = 1; i < 40; i++) loader.next(i / 5, i % 5);
      Arena::Statistics after = device().arena(kind).statistics();
      CHECK(after.in_use == before.in_use);
      CHECK(after.peak == before.in_use);
      CHECK(after.system_calls == before.system_calls);
    }
  }
}

TEST_CASE("loader: its memory goes back when it ends") {
  Dataset d = tiny();
  std::size_t before = device().arena(Memory::device).statistics().in_use;
  {
    Loader loader(d, device(), small_batches());
    loader.next(0, 0);
    CHECK(device().arena(Memory::device).statistics().in_use > before);
  }
  CHECK(device().arena(Memory::device).statistics().in_use == before);
}

TEST_CASE("loader: threads sleep when the ring is full") {
  auto source = std::make_shared<Source>();
  LoaderOptions o;
  o.batch = 4, o.threads = 3, o.ahead = 2;
  Loader loader(source, device(), o);
  loader.next(0, 0);
  CHECK(source->reaches(12));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(source->written == 12);  // the one asked for and two more
}

TEST_CASE("loader: going elsewhere while threads are at work leaves nothing of the old batches") {
  auto source = std::make_shared<Source>();
  source->milliseconds = 1;
  LoaderOptions o;
  o.batch = 4, o.threads = 3, o.shuffle = false;
  Loader loader(source, device(), o);
  for (Index i = 0; i < 40; i++) {
    Index step = i * 7 % 10;
    std::vector<double> labels = loader.next(0, step).labels.to_host();
    CHECK(labels == std::vector<double>{4. * step, 4. * step + 1, 4. * step + 2, 4. * step + 3});
  }
}

TEST_CASE("loader: with a fixed key the work ahead goes on over the end of the epoch") {
  auto source = std::make_shared<Source>();
  LoaderOptions o;
  o.batch = 4, o.fixed_key = true;
  Loader loader(source, device(), o);
  for (int i = 0; i < 30; i++) {
    loader.next(i / 10, i % 10);
    CHECK(source->reaches((i + 3) * 4));
    CHECK(source->written == (i + 3) * 4);  // two ahead, and nothing was prepared in vain
  }
}

TEST_CASE(
    "loader: an error in a thread reaches who asks for that batch, and asking again goes on") {
  for (int threads : {1, 4}) {
    auto source = std::make_shared<Source>();
    source->fails_on = 22;
    LoaderOptions o;
    o.batch = 8, o.shuffle = false, o.threads = threads;
    Loader loader(source, device(), o);
    CHECK(loader.next(0, 0).labels.to_host()[0] == 0);
    CHECK(loader.next(0, 1).labels.to_host()[0] == 8);
    CHECK(refusal([&] { loader.next(0, 2); }) == "[test] image 22 is damaged");
    for (Index step : {2, 3, 4}) {  // only the first reading failed
      std::vector<double> labels = loader.next(0, step).labels.to_host();
      CHECK(labels.front() == 8 * step);
      CHECK(labels.back() == 8 * step + 7);
    }
  }
}

TEST_CASE("loader: it ends cleanly at any moment") {
  for (int calls = 0; calls < 8; calls++)
    for (int threads : {1, 3}) {
      auto source = std::make_shared<Source>();
      source->milliseconds = calls % 2;
      source->fails_on = calls > 5 ? 3 : -1;
      LoaderOptions o;
      o.batch = 5, o.threads = threads;
      Loader loader(source, device(), o);
      for (int i = 0; i < calls; i++) {
        try {
          loader.next(i % 2, i);
        } catch (const UserError&) {
        }
      }
    }
}

TEST_CASE("loader: a step or an epoch that there is not is a broken invariant") {
  Dataset d = tiny();
  Loader loader(d, device(), small_batches());
  CHECK_THROWS_AS(loader.next(0, 5), InvariantError);
  CHECK_THROWS_AS(loader.next(0, -1), InvariantError);
  CHECK_THROWS_AS(loader.next(-1, 0), InvariantError);
  CHECK(loader.next(0, 4).labels.numel() == 5);
}

TEST_CASE(
    "loader: what processes share of a batch is the batch, in order, whatever their number; an "
    "epoch has whole groups only") {
  Dataset d = tiny();
  for (int ranks : {1, 2, 3, 5})
    for (Index group : {1, 4}) {
      LoaderOptions o = small_batches();
      o.group = group;
      CAPTURE(ranks);
      CAPTURE(group);
      std::vector<std::unique_ptr<Loader>> parts;
      for (o.rank = 0, o.ranks = ranks; o.rank < ranks; o.rank++)
        parts.push_back(std::make_unique<Loader>(d, device(), o));
      CHECK(parts[0]->size() == (group == 4 ? 36 : 37));
      CHECK(parts[0]->steps() == 5);
      for (Index epoch = 0; epoch < 2; epoch++)
        for (Index step = 0; step < 5; step++) {
          const Index whole = std::min<Index>(8, parts[0]->size() - 8 * step);
          std::vector<double> labels, images;
          for (auto& part : parts) {
            Batch b = part->next(epoch, step);
            CHECK(b.whole == (ranks > 1 ? whole : 0));
            CHECK(b.labels.numel() % group == 0);
            CHECK(b.labels.numel() <=
                  (whole / group + ranks - 1) / ranks * group);  // as equal as can be
            labels = joined(labels, b.labels.to_host()),
            images = joined(images, b.images.to_host());
          }
          CHECK(Index(labels.size()) == whole);
          std::vector<double> all = expected(d, o, epoch, step);
          if (group == 1 || step < 4) CHECK(joined(labels, images) == all);
          else CHECK(std::equal(labels.begin(), labels.end(), all.begin()));
        }
    }
}

TEST_CASE("loader: fewer images than a group are refused") {
  Dataset d = tiny(7);
  LoaderOptions o = small_batches();
  o.group = 8;
  CHECK_THROWS_WITH_AS(Loader(d, device(), o),
                       "[loader] 7 images do not fill one batch-norm group of 8; expected "
                       "batch-norm groups of at most 7",
                       UserError);
}
