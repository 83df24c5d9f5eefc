#include <cmath>
#include <cstdio>
#include <map>

#include "data/image_folder.h"
#include "tensor/check.h"
#include "tensor/read_file.h"
#include "tensor/threads.h"

namespace fission {
namespace data {
namespace {

constexpr std::size_t keep =
    std::size_t(16) << 20;  // bytes of memory that a thread keeps from one image to the next

struct Scratch {  // a thread's own
  std::vector<std::uint8_t> file;
  Decoded decoded;
};
Scratch& scratch() {
  static thread_local Scratch s;
  if (s.file.capacity() > keep) s.file = {};
  if (s.decoded.kept.capacity() > keep) s.decoded.kept = {};
  return s;
}

// The whole file; what can't be read is no broken image, but a machine that needs looking at.
std::size_t read_whole(const std::string& path, std::vector<std::uint8_t>& to) {
  FileReader file(path);
  const std::size_t size = std::size_t(file.size());
  if (to.size() < size) to.resize(size);
  file.read(to.data(), size);
  return size;
}

Index rounded(double x) { return Index(std::nearbyint(x)); }  // to even, as Python's round

// Resize(resize), CenterCrop(size) of torchvision
void write_centre(const Decoded& d, Index resize_to, Index size, std::uint8_t* out) {
  Index shorter = std::min(d.view.height, d.view.width),
        longer = std::max(d.view.height, d.view.width);
  Index other = resize_to * longer / shorter;
  Index height = d.view.height <= d.view.width ? resize_to : other,
        width = d.view.height <= d.view.width ? other : resize_to;
  Area centre{rounded(double(height - size) / 2), rounded(double(width - size) / 2), size, size};
  resize(d.view, d.box, height, width, centre, false, out);
}

}  // namespace

RandomCrop draw_resized_crop(const Random& random, Index image, Index height, Index width) {
  constexpr std::uint64_t draws =
      16;  // of the stream for each image: ten tries, and the last for the mirror
  const double least = 0.08, narrowest = 3.0 / 4, widest = 4.0 / 3;
  const std::uint64_t first = std::uint64_t(image) * draws;
  RandomCrop crop;
  crop.mirror = random.below(first + draws - 1, 2) == 1;
  for (std::uint64_t draw = first; draw < first + 10; draw++) {
    double area = double(height) * double(width) * (least + (1 - least) * random.uniform(draw, 0));
    double aspect = std::exp(std::log(narrowest) +
                             (std::log(widest) - std::log(narrowest)) * random.uniform(draw, 1));
    Index w = rounded(std::sqrt(area * aspect)), h = rounded(std::sqrt(area / aspect));
    if (w < 1 || w > width || h < 1 || h > height) continue;
    crop.area = {Index(random.below(draw, std::uint32_t(height - h + 1), 2)),
                 Index(random.below(draw, std::uint32_t(width - w + 1), 3)), h, w};
    return crop;
  }
  double shape = double(width) / double(height);
  Index h = shape < narrowest ? rounded(double(width) / narrowest) : height,
        w = shape > widest ? rounded(double(height) * widest) : width;
  crop.area = {(height - h) / 2, (width - w) / 2, h, w};
  return crop;
}

FolderImages::FolderImages(const ImageFolderOptions& options)
    : options_(options), folder_(options) {
  FISSION_CHECK(options.size > 0 && options.resize >= 0, "[images] size ", options.size,
                ", resized to ", options.resize);
  if (options_.resize == 0) options_.resize = (options.size * 256 + 112) / 224;
  if (options_.resize < options.size)
    user_error("[images] resizing to ", options_.resize, " and cutting out ", options.size,
               "; expected to resize to at least that");
  if (!have_decoder(options.decoder))
    user_error("[images] this build has no ",
               options.decoder == Decoder::best ? "decoder of JPEG" : name_of(options.decoder),
               "; expected stb_image or libjpeg-turbo: `make deps` installs them (Debian: "
               "libstb-dev libjpeg62-turbo-dev)");
  if (!options_.warn)
    options_.warn = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
}

std::int32_t FolderImages::write(Index image, const Random* random, std::uint8_t* out) const {
  Scratch& s = scratch();
  for (Index i = image;; i = (i + 1) % folder_.count()) {
    const std::size_t bytes = read_whole(folder_.path(i), s.file);
    RandomCrop crop;
    try {
      decode(
          s.file.data(), bytes,
          [&](Index height, Index width) -> Wanted {
            if (!random) return {{0, 0, height, width}};
            crop = draw_resized_crop(*random, image, height, width);
            return {crop.area, options_.exact ? 0 : options_.size,
                    options_.exact ? 0 : options_.size};
          },
          s.decoded, options_.decoder);
    } catch (const DecodeError& error) {
      skip(i, error.what());
      continue;
    }
    if (random)
      resize(s.decoded.view, s.decoded.box, options_.size, options_.size,
             {0, 0, options_.size, options_.size}, crop.mirror, out);
    else write_centre(s.decoded, options_.resize, options_.size, out);
    s.decoded.owned.reset();
    return folder_.label(i);
  }
}

Index FolderImages::skipped(Comm& comm) const {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<double> counts(std::size_t(comm.size()), 0.0);
  counts[std::size_t(comm.rank())] = double(broken_.size());
  comm.sum(counts.data(), Index(counts.size()));
  std::vector<double> files;  // process after process, each its own
  for (int rank = 0; rank < comm.size(); rank++) {
    if (rank == comm.rank()) files.insert(files.end(), broken_.begin(), broken_.end());
    else files.resize(files.size() + std::size_t(counts[std::size_t(rank)]), 0.0);
  }
  comm.sum(files.data(), Index(files.size()));
  for (double i : files) broken_.insert(Index(i));
  if (!broken_.empty())
    check_share(Index(broken_.size()), text(folder_.path(*broken_.rbegin()), ": skipped"));
  return Index(broken_.size());
}

void FolderImages::check_share(Index broken, const std::string& last) const {
  if (broken == folder_.count())
    user_error(
        "[images] ", last, "; not one of ", broken,
        " images can be decoded; expected whole ones (--check-data lists all that are broken)");
  if (double(broken) > options_.most_broken * double(folder_.count()))
    user_error("[images] ", last, "; ", broken, " of ", folder_.count(),
               " images can't be decoded so far; expected at most ", 100 * options_.most_broken,
               " % (--check-data lists all that are broken)");
}

void FolderImages::skip(Index i, const std::string& why) const {
  const std::string file = folder_.path(i);
  if (options_.split == Split::test)
    user_error("[images] ", file, ": ", why,
               "; expected a whole image: results need all of val/ (--check-data lists all that "
               "are broken)");
  std::lock_guard<std::mutex> lock(mutex_);
  if (broken_.count(i)) return;
  check_share(Index(broken_.size()) + 1, file + ": " + why);
  broken_.insert(i);
  options_.warn(one_line("skipped " + file + ": " + why));
}

Dataset description(const FolderImages& images) {
  Dataset d;
  Shape shape = images.shape();
  d.name = "imagenet";
  d.count = shape[0], d.height = shape[1], d.width = shape[2], d.channels = shape[3];
  d.class_names = images.folder().class_names();
  d.classes = Index(d.class_names.size());
  const Normalisation n = normalisation_of(d.name);
  d.mean = n.mean, d.std = n.std;
  return d;
}

Dataset in_memory(const FolderImages& images, Index count) {
  Dataset d = description(images);
  const Index stride = std::max<Index>(1, d.count / count);
  d.count = std::min(d.count, count);
  d.labels.resize(std::size_t(d.count)),
      d.images.resize(std::size_t(d.count * d.bytes_per_image()));
  parallel_for(d.count, [&](Index i) {
    d.labels[i] = images.write(i * stride, nullptr, d.images.data() + i * d.bytes_per_image());
  });
  return d;
}

std::vector<std::string> check_data(const ImageFolder& folder,
                                    const std::function<void(Index)>& progress) {
  constexpr Index at_once = 64;
  std::map<Index, std::string> broken;
  std::mutex mutex;
  Index done = 0;
  parallel_for((folder.count() + at_once - 1) / at_once, [&](Index block) {
    Index end = std::min(folder.count(), (block + 1) * at_once);
    for (Index i = block * at_once; i < end; i++) {
      Scratch& s = scratch();
      std::string why;
      try {
        const std::size_t bytes = read_whole(folder.path(i), s.file);
        decode(
            s.file.data(), bytes,
            [](Index height, Index width) {
              return Wanted{{0, 0, height, width}};
            },
            s.decoded);
        continue;
      } catch (const DecodeError& error) {
        why = one_line(folder.path(i) + ": " + error.what());
      } catch (const UserError& error) {
        why = error.what();
      }
      std::lock_guard<std::mutex> lock(mutex);
      broken[i] = why;
    }
    std::lock_guard<std::mutex> lock(mutex);
    done += end - block * at_once;
    if (progress) progress(done);
  });
  std::vector<std::string> lines;
  for (auto& [i, why] : broken) lines.push_back(why);
  return lines;
}

}  // namespace data
}  // namespace fission
