// Writes a small tree like raw ImageNet's (tests/image_tree.h), for `make imagenet-smoke`.
#include "runners/common/program.h"
#include "tests/image_tree.h"

int main(int argc, char** argv) {
  using namespace fission;
  CommandLine app{"Writes a small tree like raw ImageNet's, of synthetic images.", "imagenet-tree"};
  std::string directory;
  test::ImageTree tree;
  app.add_option("directory", directory, "where train/ and val/ go")->required();
  app.add_option("--classes", tree.classes, "synsets")
      ->capture_default_str()
      ->check(in_range(2, 12));
  app.add_option("--train", tree.train, "training images a class")
      ->capture_default_str()
      ->check(in_range(1, 100000));
  app.add_option("--val", tree.val, "validation images a class")
      ->capture_default_str()
      ->check(in_range(1, 100000));
  app.add_flag("--flat-val", tree.flat_val, "val/ without folders, and val-labels.txt");
  app.add_option("--not-images", tree.not_images, "files of train/ that are no images")
      ->capture_default_str()
      ->check(in_range(0, 1000));
  return run_program(app, argc, argv, [&] { test::write_image_tree(directory, tree); });
}
