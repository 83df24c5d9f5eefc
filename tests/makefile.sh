#!/bin/bash
# The Makefile's own switches: probes, deps, seams, flags. In a temporary tree with tiny sources, so that it is quick
# and fails for the Makefile's reasons only; fake programs on PATH stand in for what a machine has or lacks.
set -eu -o pipefail
cd "$(dirname "$0")/.."
repo=$PWD work=$(mktemp -d)
trap 'rm -rf "$work" "$work.before"' EXIT
unset BUILD MPI MPICC CXX CXXFLAGS CPPFLAGS LDFLAGS ARCH SANITIZE PROBE ONEDNN_HOME MAKEFLAGS MFLAGS DATA FLAGS CFLAGS 2>/dev/null || true
cd "$work"
cp "$repo/Makefile" .
mkdir tensor nn split data runners bin
echo 'int one();' >tensor/one.h
printf '#include "tensor/one.h"\nint one() { return 1; }\n' >tensor/one.cpp
printf '#include "tensor/one.h"\nint main() { return one() - 1; }\n' >runners/hello.cpp

holds=0 broken=0
# fact TEXT STATUS PATTERN COMMAND...: the command ends with STATUS, and its output has PATTERN ('' is any).
# The output is kept in out; a fact about the one before reads it as last.
fact() {
  local text=$1 status=$2 pattern=$3 got=0
  shift 3
  if [ -e out ]; then mv out last; fi
  "$@" >out 2>&1 </dev/null || got=$?
  if [ "$got" = "$status" ] && { [ -z "$pattern" ] || grep -qE -e "$pattern" out; }; then holds=$((holds + 1)); return; fi
  broken=$((broken + 1))
  echo "makefile.sh: NOT SO: $text (status $got, wanted $status and /$pattern/):"
  sed 's/^/    /' out | tail -n 12
}
outside() { find . -path ./build -prune -o -type f -print | grep -vE '/(last|out|out.none)$' | sort; }
fake() { printf '#!/bin/sh\n%s\n' "$2" >"bin/$1"; chmod +x "bin/$1"; }
with_fakes() { PATH="$work/bin:$PATH" "$@"; }

# --- what is found, and what is built with it
outside >"$work.before"
fact 'a build works without git, and says what was found' 0 '✓ nlohmann/json' make
fact 'the program runs' 0 '' build/hello
fact 'everything built lies in build/' 0 '' sh -c "$(declare -f outside); outside | diff $work.before -"
fact 'what was found is remembered: a second make says and does nothing' 0 "^make: Nothing to be done" make
fact 'make probe says it again' 0 '^✓ CLI11' make probe
fact 'other flags are probed anew' 0 '^✓ CLI11' make CPPFLAGS=-DOTHER
fake no-cudnn 'case "$*" in *-lcudnn* | *libcudnn*) exit 1; esac; exec g++ "$@"'
fact 'without cuDNN there is no CUDA backend, and the user sees what is lost' 0 '✗ cuBLAS and cuDNN.*no CUDA backend' make probe CXX="$work/bin/no-cudnn"
fact '... and make cuda says so' 2 'make cuda: nvcc, cuBLAS or cuDNN was not found' make cuda CXX="$work/bin/no-cudnn"
fact 'nvcc that is not where CUDA_HOME says is not there' 0 '✗ nvcc: no CUDA backend' make probe CUDA_HOME=/nowhere
pip=$work/pip/nvidia/cudnn
mkdir -p "$pip/include" "$pip/lib"
fact 'a CUDNN_HOME that holds nothing is refused with what it lacks' 2 "CUDNN_HOME=$pip: missing: include/cudnn.h lib/libcudnn.so.9; expected" make probe CUDNN_HOME="$pip"
echo '#define CUDNN_MAJOR 9' >"$pip/include/cudnn_version.h"
touch "$pip/include/cudnn.h" "$pip"/lib/libcudnn{,_ops,_cnn,_adv,_heuristic,_engines_precompiled,_engines_runtime_compiled}.so.9
fact '... and one that lacks a part of cuDNN 9' 2 'missing: lib/libcudnn_graph.so.9; expected' make probe CUDNN_HOME="$pip"
fact '... but one that only stands in the environment stops nobody' 0 '✓ g\+\+' env CUDNN_HOME="$pip" make probe
touch "$pip/lib/libcudnn_graph.so.9"
fact "pip's layout is linked by the names that are there" 0 '✓ g\+\+' make probe CUDNN_HOME="$pip"
mkdir -p "$work/toolkit/bin"
fake python3 "echo $pip"
fake linker 'case "$*" in *cudnnCreate*|*-rpath,'"$pip"'/lib*) echo "$*" >>commands; esac; exec g++ "$@"'
rm -f commands
fact "... and found by itself where CUDA_HOME has no cuDNN" 0 '' with_fakes make probe CXX="$work/bin/linker" CUDA_HOME="$work/toolkit"
fact '... as libcudnn.so.9' 0 "$pip/lib/libcudnn.so.9 " cat commands
rm bin/python3
echo '#define CUDNN_MAJOR 10' >"$pip/include/cudnn_version.h"
fact 'another major version is refused' 2 'cuDNN 10; expected 8.9 or 9' make probe CUDNN_HOME="$pip"
fact 'PROBE=none leaves oneDNN out, and says what is lost' 0 '^✗ oneDNN: .*reference backend only' make probe PROBE=none
fact 'PROBE=none leaves OpenMP out' 0 '^✗ OpenMP' cat last
make -s PROBE=none probe >/dev/null
fact 'PROBE=none leaves zlib out' 0 '^✗ zlib: .*refused' make probe PROBE=none
fact 'PROBE=none leaves Eigen out' 0 '^✗ Eigen: no exact splitting matrices' make probe PROBE=none
fact 'PROBE=none leaves MPI out' 0 '^✗ MPI: one process only' cat last
fake gnuplot ':'
fact 'gnuplot is found on PATH' 0 '^✓ gnuplot' with_fakes make probe
fact 'PROBE=none leaves gnuplot out, and says what is lost' 0 '^✗ gnuplot: .*without figures' with_fakes make probe PROBE=none
fact 'PROBE=none leaves libjpeg-turbo out' 0 '^✗ libjpeg-turbo: .*stb_image' make probe PROBE=none
fact 'PROBE=none keeps stb_image, which is required' 0 '^✓ stb_image' cat last
fact 'PROBE=none builds with none of their flags' 1 '' grep -E 'HAVE_CPU|HAVE_ZLIB|HAVE_EIGEN|HAVE_MPI|HAVE_JPEG|fopenmp|dnnl|-lz|-ljpeg' build/compile.cmd build/link.cmd
fact 'a missing required header ends with status 2 and its name' 2 'needed: CLI11 JSON' make CPPFLAGS=-nostdinc++
fact '... and says how to point to it' 2 '✗ CLI11: required .*CPPFLAGS=-I' make CPPFLAGS=-nostdinc++
fact 'a missing compiler ends with status 2' 2 'COMPILER' make CXX=no-such-compiler
fake old 'exec g++ "$@" -std=c++14'
fact 'a compiler older than C++17 ends with status 2' 2 '✗ .*g\+\+ 9 or newer' make CXX='bin/old'
fake nothing-links 'case "$*" in *-ldnnl*|*-lz*|*-fopenmp*|*-ljpeg*) exit 1; esac; exec g++ "$@"'
fact 'a library that does not link counts as not there' 0 '✗ oneDNN' make CXX="$work/bin/nothing-links"
fact '... libjpeg-turbo too' 0 '^✗ libjpeg-turbo' cat last
fake no-stb 'case "$*" in *"-x c++ -"*) text=$(cat); case $text in *stb_image*) exit 1; esac; printf "%s\n" "$text" | g++ "$@"; exit; esac; exec g++ "$@"'
fact 'without stb_image a build works, and says what is lost' 0 '^✗ stb_image: PNG files are refused' make CXX="$work/bin/no-stb"
fact '... and the others are found' 0 '^✓ libjpeg-turbo' cat last
fact 'ONEDNN_HOME that holds none is no silent fallback' 2 'ONEDNN_HOME=/nowhere: no oneDNN' make ONEDNN_HOME=/nowhere
fact 'MPI= builds without it' 0 '^✗ MPI: one process only' make probe MPI=
fact '... and MPI=1 does not build without it' 2 '^Makefile.*MPI=1: no MPI that links' make MPI=1 MPICC=no-such-wrapper
fake mpicc 'echo gcc -I'"$work"'/mpi -L'"$work"'/mpi -ltestmpi'
mkdir mpi
printf 'extern "C" int MPI_Initialized(int*);\n' >mpi/mpi.h
fact 'a wrapper whose library does not link is none' 0 '✗ MPI' make probe MPICC="$work/bin/mpicc"
echo 'extern "C" int MPI_Initialized(int*) { return 0; }' | g++ -shared -fPIC -x c++ - -o mpi/libtestmpi.so
fact 'MPI lies where its wrapper says' 0 '✓ MPI' make probe MPI=1 MPICC="$work/bin/mpicc"
rm -r mpi
mkdir -p dnnl/lib dnnl/include/oneapi/dnnl
echo 'extern "C" int dnnl_engine_get_count(int) { return 1; }' | g++ -shared -fPIC -x c++ - -o dnnl/lib/libdnnl.so
for version in 2.5 2.6 3.7 4.0; do
  printf '#define DNNL_VERSION_MAJOR %s\n#define DNNL_VERSION_MINOR %s\nextern "C" int dnnl_engine_get_count(int);\nenum { dnnl_cpu };\n' \
    ${version/./ } >dnnl/include/oneapi/dnnl/dnnl.h
  rm -rf build
  case $version in 2.6 | 3.7) fact "oneDNN $version is taken" 0 '✓ oneDNN' make ONEDNN_HOME="$work/dnnl" ;;
    *) fact "oneDNN $version is refused" 2 'no oneDNN' make ONEDNN_HOME="$work/dnnl" ;; esac
done
rm -rf build

# --- flags
fact 'never -ffast-math, but no trapping math' 0 'fno-trapping-math' make -n
fact 'never -ffast-math' 1 '' grep ffast-math last
if [ "$(uname -m)" = x86_64 ]; then fact 'x86-64 gets haswell' 0 'march=haswell' make -n; fi
fact 'ARCH=native' 0 'march=native' make -n ARCH=native
make -n ARCH=none >out.none 2>&1
fact 'ARCH=none gives none' 1 '' grep march out.none
fact 'an unknown ARCH ends with status 2' 2 'march=amd64' make ARCH=amd64
fact 'SANITIZE=1' 0 'fsanitize=address,undefined.* -o build/sanitize/' make -n SANITIZE=1
fact 'SANITIZE=thread, where OpenMP would be misreported' 0 'fsanitize=thread .*-Wno-unknown-pragmas.* -o build/thread/' make -n SANITIZE=thread
fact 'SANITIZE=something' 2 'address and undefined' make SANITIZE=something
make -s >/dev/null
fact 'changed flags rebuild' 0 'tensor/one.cpp' make CXXFLAGS=-O1
fact 'LDFLAGS reach the link' 0 '→ build/hello' make CXXFLAGS=-O1 LDFLAGS=-Wl,--as-needed
make -s >/dev/null
touch tensor/one.h
fact 'a changed header rebuilds' 0 'runners/hello.cpp' make
echo 'int two() { return 2; }' >tensor/two.cpp
fact 'a new source file is built and linked' 0 '→ build/hello' make
rm tensor/two.cpp
fact 'a removed one is linked no more' 0 '→ build/hello' make
rm -f out.none
cp runners/hello.cpp runners/cifar.cpp
cp runners/hello.cpp runners/report.cpp
fact 'demo-short sets up, builds and runs' 0 '^build/cifar --dataset' make demo-short
fact '... with all job slots' 1 '' grep -i 'warning' last
fact '... and ends with the page' 0 '^build/report build/demo-short$' make demo-short
rm runners/cifar.cpp runners/report.cpp
cp runners/hello.cpp runners/imagenet.cpp
fact 'imagenet hands DATA, MODEL and FLAGS on' 0 '^build/imagenet --model v2 --data "\$DATA" --x$' make imagenet DATA=/d MODEL=v2 FLAGS=--x
fact 'imagenet without DATA asks the program what to fetch' 0 '^build/imagenet *$' make imagenet
fact 'imagenet names no model beside --start' 0 '^build/imagenet +--data "\$DATA" --start s$' make imagenet DATA=/d FLAGS='--start s'
rm runners/imagenet.cpp
mkdir -p tests/tools
cp "$repo/tests/tools/bundle.sh" tests/tools
fact 'bundle packs sources and headers, and says what to do with them' 0 'fission-bundle.tar.gz: [0-9]+ KiB; there: .* make gpu-check CPPFLAGS=-Iheaders' make bundle
tar xf build/fission-bundle.tar.gz
fact '... all the headers that are required' 1 '' sh -c 'printf "#include <%s>\n" CLI/CLI.hpp nlohmann/json.hpp doctest/doctest.h stb/stb_image.h | g++ -std=c++17 -Ifission/headers -M -x c++ - | grep -E "/include/(CLI|nlohmann|doctest|stb)/"'
fact '... and the program builds there' 0 '→ build/hello' make -C fission CPPFLAGS=-Iheaders
fact 'bundle names a header that is missing' 2 'bundle: <CLI/CLI.hpp> was not found' make bundle CPPFLAGS=-nostdinc++
rm -r tests fission
fact 'clean removes it all' 0 'rm -rf build' make clean

# --- deps
fake dpkg-query ':'
fake id 'echo 1000'
fact 'deps asks nothing where the compiler finds all, root or not' 0 '' with_fakes make deps
fact '... nor says that something required is missing' 1 '' grep needed last
fact 'without root, deps names what is missing' 2 'needed: nlohmann-json3-dev' with_fakes make deps CPPFLAGS=-nostdinc
fact '... and how to point to it' 0 'CPPFLAGS=-IDIR LDFLAGS=-LDIR ONEDNN_HOME=DIR' \
  sh -c "PATH=$work/bin:\$PATH make deps CPPFLAGS=-nostdinc || [ \$? = 2 ]"
fact '... and nothing that is there' 1 '' grep -E ': g\+\+' last
fact 'without a compiler, g++ is named too' 2 'needed: g\+\+$' with_fakes make deps CXX=no-such-compiler
fake id 'echo 0'
fake apt-get "echo \"\$@\" >>$work/apt.log"
fact 'as root, deps calls apt-get' 2 'installing libcli11-dev' with_fakes make deps CPPFLAGS=-nostdinc
fact '... with exactly what is missing' 0 ' libcli11-dev nlohmann-json3-dev doctest-dev libdnnl-dev zlib1g-dev libeigen3-dev libstb-dev libjpeg62-turbo-dev( libopenmpi-dev)?( openmpi-bin)?( gnuplot-nox)?( dataset-fashion-mnist)?$' grep install apt.log
fake dpkg-query "echo 'install ok installed'"
rm apt.log
fact 'with nothing missing deps does nothing' 0 '' with_fakes make deps
fact '... and calls no apt-get' 1 '' cat apt.log
rm -r bin

# --- seams
fact 'seams: a clean tree passes' 0 '' make seams
plant() {  # FILE LINE TEXT
  echo "$2" >"$1"
  fact "seams: $3" 2 "$1:1:" make seams
  rm "$1"
}
plant nn/bad.h '#include <dnnl.hpp>' 'a device library above tensor/'
plant split/bad.cpp '  if (device == Device::cuda) {}' 'a device named in the algorithm'
plant split/bad.h '# ifdef FISSION_HAVE_CPU' 'conditional compilation in the algorithm'
plant runners/bad.cpp '#include <omp.h>' 'threads in a runner'
plant tensor/bad.h '#include "nn/layers.h"' 'an include that points up'
plant nn/bad.h '#include "split/grow.h"' 'nn includes split'
plant data/bad.h '#include "nn/layers.h"' 'data sees tensor only'
plant split/bad.h '#include "sibling.h"' 'an include without its folder'
fact 'seams: tensor/ may name devices' 0 '' sh -c 'echo "#include <omp.h>" >tensor/good.h && make seams'

# --- runs
fact 'cifar10 without DATA says what to fetch' 2 'data_batch_1.bin .*test_batch.bin' make cifar10
fact 'cifar100 without DATA says what to fetch' 2 'train.bin test.bin' make cifar100
fact 'eval-zoo without DATA says whose' 2 'DIR holds the binary files of CIFAR-10 or CIFAR-100' make eval-zoo
fact 'help names every goal' 0 'make cifar10 cifar100' make help

# --- a lesser processor
if [ "$(uname -m)" = x86_64 ] && [ -e "$repo/tensor/isa.cpp" ]; then
  for march in haswell skylake-avx512; do
    g++ -std=c++17 -O3 -march=$march -c "$repo/tensor/isa.cpp" -o isa.o
    objdump -d isa.o >isa.txt
    fact "the check itself uses nothing newer than x86-64 ($march)" 1 '' grep -E '%[xyz]mm|\sv[a-z]+\s|shlx|sarx|andn|rorx' isa.txt
  done
  if command -v qemu-x86_64 >/dev/null; then
    printf 'double x[9] = {1}; struct A { A() { for (double& y : x) y += 2; } } a; int main() { return x[0] != 3; }' >main.cpp
    g++ -std=c++17 -O3 -march=haswell main.cpp "$repo/tensor/isa.cpp" -o lesser
    fact 'a lesser processor: one line and status 2' 2 '^fission: this program was built for a processor with avx, ' qemu-x86_64 -cpu Westmere ./lesser
    fact '... one line only' 0 '^1 ' wc -l last
    fact 'a sufficient processor: it runs' 0 '' qemu-x86_64 -cpu max ./lesser
  else
    echo 'makefile.sh: skipped: a lesser processor (needs qemu-user)'
  fi
fi
echo "makefile.sh: $holds facts hold, $broken do not"
[ $broken = 0 ]
