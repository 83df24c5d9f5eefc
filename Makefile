# fission: `make help` says what there is to make. Nothing here needs git, and all that is built lies in build/.
# What a user may give:  CXX CPPFLAGS CXXFLAGS LDFLAGS  ONEDNN_HOME=DIR  ARCH=native|none|...  SANITIZE=1|thread
#                        MPI=1|MPI= (with|without)  MPICC=WRAPPER  PROBE=none (required libraries alone)  BUILD=DIR  FLAGS=... for the program that is run
#                        CUDA_HOME=DIR CUDNN_HOME=DIR CUDA_ARCH="80 90" (make cuda)
DEMO_FLAGS  = --dataset fashion-mnist --recipe short --rounds 2 --target-macs 740000,1415000 --epochs 3 --tune-epochs 2 \
              --last-epochs 6 --out runs/demo
AUDIT_FLAGS = --dataset fashion-mnist --epochs 2 --rounds 0 --out $(BUILD)/audited
SHORT_FLAGS = --dataset fashion-mnist --first 6400 --epochs 2 --tune-epochs 1 --rq-epochs 1 --rounds 2 --out $(BUILD)/demo-short

, := ,
H := \#
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
ifeq (0,$(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)))
MAKEFLAGS += -j$(shell nproc)
endif
ifneq (,$(filter-out 1 thread fuzzer,$(SANITIZE)))
$(error SANITIZE=$(SANITIZE): 1 (address and undefined behaviour), thread and fuzzer (make fuzz) are known)
endif
BUILD := build$(if $(SANITIZE),/$(SANITIZE:1=sanitize))
ARCH  ?= $(if $(filter x86_64,$(shell uname -m)),haswell,none)
MARCH := $(if $(filter-out none,$(ARCH)),-march=$(ARCH:-march=%=%))
# -ffast-math is never given: it lets the compiler assume that no NaN exists, and a NaN loss must be seen.
CXXFLAGS ?= $(if $(SANITIZE),-O1 -fno-omit-frame-pointer,-O3) -g1
SANITIZERS := $(if $(SANITIZE),-fsanitize=$(if $(filter thread,$(SANITIZE)),thread,$(if $(filter fuzzer,$(SANITIZE)),fuzzer-no-link$(,))address$(,)undefined) -fno-sanitize-recover=all)

# These goals look at no library, or set the machine up first and then call make again.
LIGHT := help clean deps seams test test-extra demo demo-short gpu-check bundle bench bench-torch cifar10 cifar100 imagenet imagenet-smoke study eval-zoo audit mutants fuzz format format-check size
ifneq (,$(filter-out $(LIGHT),$(or $(MAKECMDGOALS),all)))

# ---- Probes: each compiles a tiny program with the user's own flags. What was found is remembered until the flags
# change; what was not found is looked for again each time, so that installing a package suffices.
$(shell mkdir -p $(BUILD))
# CUDA's headers suffice for the tests of its backend (on a stand-in for the libraries); nvcc builds it.
CUDA_HOME    ?= $(patsubst %/bin/nvcc,%,$(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda/bin/nvcc)))
# cuDNN may lie where pip puts it: nvidia/cudnn/{include,lib}, with the other libraries beside it, each as lib….so.9 and the like alone.
CUDNN_HOME   ?= $(or $(if $(wildcard $(CUDA_HOME)/include/cudnn.h),$(CUDA_HOME)),$(if $(CUDA_HOME),$(shell python3 -c \
                'import nvidia.cudnn; print(list(nvidia.cudnn.__path__)[0])' 2>/dev/null)),$(CUDA_HOME))
CUDA_HOMES   := $(CUDA_HOME) $(filter-out $(CUDA_HOME),$(CUDNN_HOME) $(if $(findstring /nvidia/cudnn,$(CUDNN_HOME)),$(wildcard $(dir $(CUDNN_HOME))*)))
CUDA_ARCH    ?= 80 90
NVCC          = $(CUDA_HOME)/bin/nvcc
CUDA_FLAGS   := $(patsubst %,-idirafter %/include,$(CUDA_HOMES))
CUDA_DIRS    := $(wildcard $(foreach home,$(CUDA_HOMES),$(home)/lib64 $(home)/lib))
CUDA_RPATH   := $(CUDA_DIRS:%=-Wl$(,)-rpath$(,)%)
cuda_library  = $(firstword $(foreach name,lib$(1).so lib$(1).so.[0-9]*,$(wildcard $(CUDA_DIRS:%=%/$(name)))) -l$(1))
CUDA_LIBS    := $(foreach l,cudnn cublas cudart,$(call cuda_library,$l)) $(CUDA_RPATH)
-include $(BUILD)/probe.mk
differ = $(subst x$(strip $(1)),,x$(strip $(2)))$(subst x$(strip $(2)),,x$(strip $(1)))
WITHOUT_MPI := $(if $(filter undefined,$(origin MPI)),,$(if $(filter-out 0,$(MPI)),,yes))
GIVEN := $(CXX) $(CPPFLAGS) $(CXXFLAGS) $(LDFLAGS) $(MARCH) $(ONEDNN_HOME) $(CUDA_HOME) $(CUDNN_HOME) $(PROBE) $(SANITIZE) $(MPICC) $(WITHOUT_MPI:yes=MPI=)
FOUND := $(if $(call differ,$(GIVEN),$(PROBED_WITH)),,$(PROBED_FOUND))
# $(call probe,NAME,headers,statements before and in main,flags): yes or nothing
probe = $(if $(filter $(1),$(FOUND)),yes,$(shell printf '%b' \
  '$(foreach h,$(2),$Hinclude <$h>\n)int main() { $(3) }\n' | $(CXX) -std=c++17 $(CPPFLAGS) -x c++ - -x none \
  -o $(BUILD)/probe.out $(LDFLAGS) $(4) 2>/dev/null && echo yes))
# clang calls itself g++ 4
HAVE_COMPILER := $(call probe,COMPILER,,static_assert(__cplusplus >= 201703L && (__GNUC__ >= 9 || __GNUC__ == 4)$(,) "");,$(MARCH))
HAVE_CLI11    := $(call probe,CLI11,CLI/CLI.hpp,,-E)
HAVE_JSON     := $(call probe,JSON,nlohmann/json.hpp,,-E)
HAVE_DOCTEST  := $(call probe,DOCTEST,doctest/doctest.h,,-E)
# stb is required too, but all else works without it.
HAVE_STB      := $(or $(call probe,STB,stb/stb_image.h,,-E),$(call probe,STB,stb_image.h,,-E))
EIGEN_FLAGS   := -idirafter /usr/include/eigen3# where distributions put it; CPPFLAGS come first
ifneq ($(PROBE),none)
# ONEDNN_HOME means that one and no other: its header and its library are named by their paths.
ONEDNN_LIB   := $(firstword $(wildcard $(ONEDNN_HOME:%=%/lib*/libdnnl.so) $(ONEDNN_HOME:%=%/lib*/libdnnl.a)) libdnnl.so)
ONEDNN_FLAGS := $(ONEDNN_HOME:%=-I%/include)
ONEDNN_LIBS  := $(if $(ONEDNN_HOME),$(ONEDNN_LIB) -Wl$(,)-rpath$(,)$(patsubst %/,%,$(dir $(ONEDNN_LIB))),-ldnnl)
HAVE_ONEDNN  := $(call probe,ONEDNN,$(ONEDNN_HOME:%=%/include/)oneapi/dnnl/dnnl.h,static_assert(DNNL_VERSION_MAJOR * 100 + \
  DNNL_VERSION_MINOR >= 206 && DNNL_VERSION_MAJOR <= 3$(,) ""); return dnnl_engine_get_count(dnnl_cpu) == 0;,\
  $(ONEDNN_FLAGS) $(ONEDNN_LIBS))
# ThreadSanitizer cannot see into libgomp and would report every parallel loop.
HAVE_OPENMP  := $(if $(filter thread,$(SANITIZE)),,$(call probe,OPENMP,omp.h,return omp_get_max_threads() == 0;,-fopenmp))
HAVE_ZLIB    := $(call probe,ZLIB,zlib.h,return zlibVersion() == nullptr;,-lz)
HAVE_EIGEN   := $(call probe,EIGEN,Eigen/Eigenvalues,,-E $(EIGEN_FLAGS))
ifeq (,$(WITHOUT_MPI))
# MPI's C interface; where it lies the compiler's wrapper tells, Open MPI's and MPICH's alike (none: CXX may be a wrapper itself).
MPICC     ?= mpicc
MPI_SHOWS := $(shell $(MPICC) -show 2>/dev/null)
MPI_FLAGS := $(filter -I% -D%,$(MPI_SHOWS)) -DOMPI_SKIP_MPICXX -DMPICH_SKIP_MPICXX
MPI_LIBS  := $(filter -L% -l% -Wl%,$(MPI_SHOWS))
HAVE_MPI  := $(call probe,MPI,mpi.h,return MPI_Initialized(nullptr);,$(MPI_FLAGS) $(MPI_LIBS))
endif
# libjpeg-turbo 1.5 or newer, known by what plain libjpeg lacks
HAVE_JPEG    := $(call probe,JPEG,cstdio jpeglib.h,jpeg_decompress_struct c; c.out_color_space = JCS_EXT_RGBX; jpeg_crop_scanline(&c$(,) 0$(,) 0);,-ljpeg)
HAVE_GNUPLOT := $(shell command -v gnuplot >/dev/null && echo yes)
HAVE_CUDA    := $(call probe,CUDA,cuda_runtime_api.h cublas_v2.h cudnn.h,static_assert(CUDART_VERSION >= 11080 && CUDNN_MAJOR * 100 + CUDNN_MINOR >= 809$(,) \
  ""); cudnnCreate(0); cublasCreate(0); cudaDeviceSynchronize();,$(CUDA_FLAGS) $(CUDA_LIBS))
HAVE_NCCL    := $(if $(HAVE_CUDA),$(call probe,NCCL,nccl.h,return ncclGetLastError(nullptr) == nullptr;,$(CUDA_FLAGS) $(CUDA_DIRS:%=-L%) -lnccl))
HAVE_NVCC    := $(if $(HAVE_CUDA),$(if $(filter NVCC,$(FOUND)),yes,$(shell $(NVCC) --version >/dev/null 2>&1 && echo yes)))
endif
NOW_FOUND := $(foreach p,COMPILER CLI11 JSON DOCTEST STB ONEDNN OPENMP ZLIB EIGEN MPI JPEG GNUPLOT CUDA NCCL NVCC,$(if $(HAVE_$p),$p))
MISSING := $(strip $(foreach p,COMPILER CLI11 JSON $(if $(filter all probe,$(or $(MAKECMDGOALS),all)),,DOCTEST),$(if $(HAVE_$p),,$p)))
report = $(info $(if $(HAVE_$(1)),✓ $(2),✗ $(2): $(3)))
ifneq (,$(call differ,$(GIVEN) $(NOW_FOUND),$(PROBED_WITH) $(PROBED_FOUND))$(filter probe,$(MAKECMDGOALS))$(MISSING))
$(file >$(BUILD)/probe.mk,PROBED_WITH := $(subst $H,\$H,$(subst $$,$$$$,$(GIVEN))))
$(file >>$(BUILD)/probe.mk,PROBED_FOUND := $(NOW_FOUND))
$(call report,COMPILER,$(CXX) $(MARCH)$(,) C++17,g++ 9 or newer is required (g++; another one: CXX=...$(,) ARCH=...))
$(call report,CLI11,CLI11,required (libcli11-dev; or CPPFLAGS=-IDIR with DIR/CLI/CLI.hpp))
$(call report,JSON,nlohmann/json,required (nlohmann-json3-dev; or CPPFLAGS=-IDIR with DIR/nlohmann/json.hpp))
$(call report,DOCTEST,doctest,the tests cannot be built (doctest-dev; or CPPFLAGS=-IDIR with DIR/doctest/doctest.h))
$(call report,STB,stb_image,PNG files are refused$(,) JPEG files too without libjpeg-turbo (libstb-dev; or CPPFLAGS=-IDIR with DIR/stb/stb_image.h))
$(call report,ONEDNN,oneDNN,the CPU has the slow reference backend only (libdnnl-dev 2.6 to 3.x; or ONEDNN_HOME=DIR))
$(call report,OPENMP,OpenMP,one thread only (libgomp comes with g++))
$(call report,ZLIB,zlib,gzip files are refused (zlib1g-dev; or CPPFLAGS=-IDIR LDFLAGS=-LDIR))
$(call report,EIGEN,Eigen,no exact splitting matrices and no Lanczos solver (libeigen3-dev; or CPPFLAGS=-IDIR with DIR/Eigen/Eigenvalues))
$(call report,MPI,MPI,one process only (libopenmpi-dev openmpi-bin; or MPICC=WRAPPER))
$(call report,JPEG,libjpeg-turbo,JPEG files are decoded by stb_image$(,) which takes longer (libjpeg62-turbo-dev; or CPPFLAGS=-IDIR LDFLAGS=-LDIR))
$(call report,GNUPLOT,gnuplot,build/report makes pages without figures (gnuplot-nox))
$(call report,CUDA,cuBLAS and cuDNN (make cuda builds the CUDA backend),no CUDA backend$(,) and its tests are skipped (CUDA 11.8 to 13$(,) cuDNN 8.9 or 9; or CUDA_HOME=DIR CUDNN_HOME=DIR))
$(call report,NCCL,NCCL,several processes on GPUs exchange gradients through host memory (libnccl-dev; or in CUDA_HOME))
$(call report,NVCC,nvcc,no CUDA backend: make cuda cannot build it (the CUDA toolkit; or CUDA_HOME=DIR))
endif
ifneq (,$(MISSING))
$(error Not found, and needed: $(MISSING). `make deps` installs them on Debian, or says how to point to them)
endif
ifneq (,$(if $(HAVE_ONEDNN),,$(ONEDNN_HOME)))
$(error ONEDNN_HOME=$(ONEDNN_HOME): no oneDNN 2.6 to 3.x that links (include/oneapi/dnnl/dnnl.h and lib*/libdnnl.so))
endif
# What stands in the environment is not asked for: there it is found (✓) or not (✗).
ifeq (command,$(firstword $(origin CUDNN_HOME)))
CUDNN_MAJOR := $(shell sed -nE 's/.*define CUDNN_MAJOR +([0-9]+).*/\1/p' $(wildcard $(CUDNN_HOME)/include/cudnn_version.h) /dev/null)
CUDNN_PARTS := $(if $(filter 9,$(CUDNN_MAJOR)),graph ops cnn adv heuristic engines_precompiled engines_runtime_compiled)
CUDNN_LACKS := $(strip $(if $(wildcard $(CUDNN_HOME)/include/cudnn.h),,include/cudnn.h) $(foreach l,cudnn $(CUDNN_PARTS:%=cudnn_%),\
                 $(if $(wildcard $(CUDNN_HOME)/lib*/lib$l.so*),,lib/lib$l.so.$(or $(CUDNN_MAJOR),9))))
ifneq (,$(CUDNN_LACKS))
$(error CUDNN_HOME=$(CUDNN_HOME): missing: $(CUDNN_LACKS); expected cuDNN 8.9 or 9 (the folder nvidia/cudnn of pip's nvidia-cudnn, or a toolkit))
endif
ifeq (,$(filter 8 9,$(CUDNN_MAJOR)))
$(error CUDNN_HOME=$(CUDNN_HOME): cuDNN $(CUDNN_MAJOR); expected 8.9 or 9)
endif
endif
ifneq (,$(if $(HAVE_MPI),,$(filter-out 0,$(MPI))))
$(error MPI=$(MPI): no MPI that links, by `$(MPICC) -show` ($(or $(MPI_SHOWS),which says nothing)); MPI= builds without it)
endif
endif

# ---- What is compiled, and how
LIBRARY  := $(wildcard tensor/*.cpp tensor/reference/*.cpp tensor/cuda/*.cpp $(if $(HAVE_ONEDNN),tensor/cpu/*.cpp) \
              autograd/*.cpp nn/*.cpp nn/io/*.cpp split/*.cpp data/*.cpp runners/*/*.cpp)
PROGRAMS := $(patsubst runners/%.cpp,$(BUILD)/%,$(wildcard runners/*.cpp))
TOOLS    := $(BUILD)/imagenet-tree
FAKE     := $(wildcard tests/cuda/fake/*.cpp)
TESTS    := $(filter-out tests/tools/% tests/fuzz/%,$(wildcard tests/*.cpp tests/*/*.cpp))
objects   = $(patsubst %.cpp,$(BUILD)/obj/%.o,$(1))
COMPILE  := $(CXX) -std=c++17 -Wall -Wextra $(CXXFLAGS) $(MARCH) -fno-trapping-math -fno-math-errno $(SANITIZERS) \
            $(if $(HAVE_OPENMP),-fopenmp,-Wno-unknown-pragmas) $(if $(HAVE_ONEDNN),$(ONEDNN_FLAGS) -DFISSION_HAVE_CPU=1) \
            $(if $(HAVE_ZLIB),-DFISSION_HAVE_ZLIB=1) $(if $(HAVE_EIGEN),$(EIGEN_FLAGS) -DFISSION_HAVE_EIGEN=1) \
            $(if $(HAVE_MPI),$(MPI_FLAGS) -DFISSION_HAVE_MPI=1) $(if $(HAVE_STB),-DFISSION_HAVE_STB=1) \
            $(if $(HAVE_JPEG),-DFISSION_HAVE_JPEG=1) -I. $(CPPFLAGS)
LINK     := $(CXX) $(CXXFLAGS) $(SANITIZERS) $(if $(HAVE_OPENMP),-fopenmp) $(LDFLAGS)
LIBS     := $(if $(HAVE_ONEDNN),$(ONEDNN_LIBS)) $(if $(HAVE_ZLIB),-lz) $(if $(HAVE_JPEG),-ljpeg) $(if $(HAVE_MPI),$(MPI_LIBS)) -lpthread -ldl

# A changed command, or a source file come or gone, rebuilds: the commands are kept in files that change only then.
remember = $(if $(call differ,$(2),$(file <$(1))),$(file >$(1),$(2)))
ifneq (,$(filter-out $(LIGHT),$(or $(MAKECMDGOALS),all)))
$(call remember,$(BUILD)/compile.cmd,$(COMPILE))
$(call remember,$(BUILD)/link.cmd,$(LINK) $(LIBRARY) $(TESTS) $(LIBS))
endif

# ---- The CUDA backend: a module that programs bring in when a GPU is asked for. What it shares with them is named by SEAM.
SEAM     := $(firstword $(shell cat /dev/null $(wildcard $(addprefix tensor/,backend.h tensor.h geometry.h allocator.h check.h comm.h)) | cksum))
KERNELS  := $(wildcard tensor/cuda/*.cu)
SHARED   := tensor/allocator.cpp tensor/tensor.cpp
CUDA_DEFINES := -DFISSION_SEAM='"$(SEAM)"' -DFISSION_CUDA_ARCH='"$(CUDA_ARCH)"'
newest    = $(shell printf "%s\n" $(CUDA_ARCH) | sort -n | tail -n 1)
HOST      = $(if $(filter default,$(origin CXX)),,-ccbin $(lastword $(CXX)))# else the one that nvcc is set up with
NVCOMPILE = $(NVCC) -std=c++17 -O3 -lineinfo $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$a$(,)code=sm_$a) \
            -gencode arch=compute_$(newest)$(,)code=compute_$(newest) -Xptxas -v $(HOST) -Xcompiler -Wall,-fPIC,-fno-trapping-math,-fno-math-errno \
            -I. $(patsubst %,-I%/include,$(filter-out $(CUDA_HOME),$(CUDA_HOMES))) $(if $(HAVE_NCCL),-DFISSION_HAVE_NCCL=1) $(CPPFLAGS)
MODULE_OBJECTS = $(KERNELS:%=$(BUILD)/obj/%.o) $(SHARED:%.cpp=$(BUILD)/obj/shared/%.o)
FAKE_OBJECTS = $(KERNELS:%=$(BUILD)/obj/fake/%.o) $(FAKE:%.cpp=$(BUILD)/obj/fake/%.o) $(SHARED:%.cpp=$(BUILD)/obj/shared/%.o)
# Hooks at every load and store of the kernels (tests/cuda/fake/races.h); the sanitizers have none to spare.
WATCHED := $(if $(SANITIZE),,-fsanitize=thread$(,)alignment)
$(BUILD)/obj/tensor/cuda/open.o: COMPILE += $(CUDA_DEFINES)
ifneq (,$(filter-out $(LIGHT),$(or $(MAKECMDGOALS),all)))
$(call remember,$(BUILD)/nvcc.cmd,$(NVCOMPILE) $(KERNELS) $(CUDA_LIBS))
$(call remember,$(BUILD)/seam.cmd,$(CUDA_DEFINES) $(WATCHED))
endif
$(addprefix $(BUILD)/obj/,tensor/cuda/open.o tensor/cuda/module.cu.o fake/tensor/cuda/module.cu.o): $(BUILD)/seam.cmd
$(BUILD)/obj/%.cu.o: %.cu $(BUILD)/nvcc.cmd
	@mkdir -p $(@D)
	@echo "  $<"
	@$(NVCOMPILE) $(CUDA_DEFINES) -MMD -MF $@.d -c $< -o $@ >$@.log 2>&1 || { cat $@.log; exit 2; }
	@! grep -B 2 -E '[1-9][0-9]* bytes spill' $@.log || echo "$<: this nvcc spills registers to memory: right, but slower"
$(BUILD)/obj/shared/%.o: %.cpp $(BUILD)/compile.cmd
	@mkdir -p $(@D)
	@$(COMPILE) -fPIC -MMD -MP -c $< -o $@
$(BUILD)/obj/fake/%.o: % $(BUILD)/compile.cmd $(BUILD)/seam.cmd
	@mkdir -p $(@D)
	@echo "  $< (fake)"
	@$(COMPILE) $(WATCHED) -fPIC -fno-gnu-unique $(CUDA_FLAGS) $(CUDA_DEFINES) -include tests/cuda/fake/emulator.h -MMD -MP -x c++ -c $< -o $@
$(BUILD)/obj/fake/%.o: %.cpp $(BUILD)/compile.cmd $(BUILD)/seam.cmd
	@mkdir -p $(@D)
	@echo "  $<"
	@$(COMPILE) $(if $(findstring /mistakes,$<),$(WATCHED)) -fPIC -fno-gnu-unique $(CUDA_FLAGS) -MMD -MP -c $< -o $@
$(BUILD)/fission_cuda.so: $(MODULE_OBJECTS)
	@echo "→ $@"
	@$(LINK) -shared -Wl,--no-undefined $^ $(CUDA_LIBS) $(if $(HAVE_NCCL),-lnccl) -o $@
$(BUILD)/fission_cuda_fake.so: $(FAKE_OBJECTS) $(BUILD)/link.cmd
	@echo "→ $@"
	@$(LINK) -shared -Wl,--no-undefined,-Bsymbolic $(filter %.o,$^) $(call cuda_library,cudnn) $(CUDA_RPATH) -ldl -lpthread -o $@
cuda: $(if $(HAVE_NVCC),$(BUILD)/fission_cuda.so,no-cuda) ## the CUDA backend (CUDA_HOME= CUDNN_HOME= CUDA_ARCH="80 90")
no-cuda: ; @echo 'make cuda: nvcc, cuBLAS or cuDNN was not found (make probe says which; CUDA_HOME=DIR CUDNN_HOME=DIR)'; exit 2
# The programs' own code and nn/io compute little, and the tests' is not what is tried: all are compiled for speed of
# compilation. With the sanitizers that is all of it but the loops: at -O1 they take three times as long over a file as at -O0.
# They are linked last: of an inline function that several objects have, the first stays, the fast one.
LIGHTLY = $(if $(filter 1,$(SANITIZE)),-O0,$(if $(SANITIZE),,-O1))
$(addprefix $(BUILD)/obj/,$(if $(filter 1,$(SANITIZE)),autograd/%.o nn/%.o data/%.o,nn/io/%.o) runners/%.o): COMPILE += $(LIGHTLY)
$(BUILD)/obj/tests/%.o: COMPILE += $(if $(filter 1,$(SANITIZE)),-fno-sanitize=undefined) $(LIGHTLY)
-include $(wildcard $(KERNELS:%=$(BUILD)/obj/%.o.d) $(patsubst %.o,%.d,$(FAKE_OBJECTS)))

all: $(PROGRAMS) $(if $(HAVE_DOCTEST),$(if $(TESTS),$(BUILD)/tests)) ## every program, and the tests
probe: ; @:

$(BUILD)/obj/%.o: %.cpp $(BUILD)/compile.cmd
	@mkdir -p $(@D)
	@echo "  $<"
	@$(COMPILE) -MMD -MP -c $< -o $@
$(PROGRAMS): $(BUILD)/%: $(call objects,$(LIBRARY)) $(BUILD)/obj/runners/%.o $(BUILD)/link.cmd
	@echo "→ $@"
	@$(LINK) $(filter %.o,$^) $(LIBS) -o $@
$(BUILD)/tests: $(call objects,$(LIBRARY) $(TESTS)) $(BUILD)/link.cmd | $(if $(HAVE_CUDA),$(if $(FAKE),$(BUILD)/fission_cuda_fake.so))
	@echo "→ $@"
	@$(LINK) $(filter %.o,$^) $(LIBS) -o $@
$(TOOLS): $(BUILD)/obj/tests/tools/imagenet_tree.o $(BUILD)/obj/tests/image_tree.o $(call objects,$(LIBRARY)) $(BUILD)/link.cmd
	@echo "→ $@"
	@$(LINK) $(filter %.o,$^) $(LIBS) -o $@
$(BUILD)/readers: $(BUILD)/obj/tests/fuzz/readers.o $(call objects,$(LIBRARY)) $(BUILD)/link.cmd
	@echo "→ $@"
	@$(LINK) -fsanitize=fuzzer $(filter %.o,$^) $(LIBS) -o $@
$(BUILD)/compile.cmd $(BUILD)/link.cmd $(BUILD)/nvcc.cmd $(BUILD)/seam.cmd: ;
-include $(patsubst %.o,%.d,$(call objects,$(LIBRARY) $(TESTS) $(wildcard runners/*.cpp tests/tools/*.cpp tests/fuzz/*.cpp)))

$(BUILD)/obj/data/sample_jpeg.o: COMPILE += -fno-sanitize=shift# stb_image_write shifts negative numbers, as every compiler allows

# ---- Setting the machine up: PACKAGE=HEADER. A header that the compiler finds anyhow (CPPFLAGS) needs no package.
REQUIRED := g++= libcli11-dev=CLI/CLI.hpp nlohmann-json3-dev=nlohmann/json.hpp doctest-dev=doctest/doctest.h
OPTIONAL := libdnnl-dev=oneapi/dnnl/dnnl.h zlib1g-dev=zlib.h libeigen3-dev=Eigen/Eigenvalues \
            libstb-dev=stb/stb_image.h libjpeg62-turbo-dev=jpeglib.h libopenmpi-dev= openmpi-bin= gnuplot-nox= dataset-fashion-mnist=
define DEPS
lacking() {
  for item; do
    case "$$(dpkg-query -W -f '$${Status}' $${item%%=*} 2>&1)" in *'ok installed') continue; esac
    case $$item in
      g++=) command -v $(firstword $(CXX)) >/dev/null ;;
      libopenmpi-dev=) command -v $(or $(MPICC),mpicc) >/dev/null ;;
      openmpi-bin=) command -v mpirun >/dev/null ;;
      gnuplot-nox=) command -v gnuplot >/dev/null ;;
      dataset-*) test -d /usr/share/datasets/fashion-mnist ;;
      *) echo "$Hinclude <$${item$H*=}>" | $(CXX) -std=c++17 $(CPPFLAGS) $(ONEDNN_HOME:%=-I%/include) -idirafter /usr/include/eigen3 -E -x c++ - ;;
    esac >/dev/null 2>&1 || echo $${item%%=*}
  done
}
required=$$(lacking $(REQUIRED)) optional=$$(lacking $(OPTIONAL))
if [ "$$required$$optional" ] && [ $$(id -u) = 0 ] && command -v apt-get >/dev/null; then
  set -- $$required $$optional
  echo "deps: installing $$* (log: $(BUILD)/deps.log)"
  mkdir -p $(BUILD)
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update; apt-get install -y --no-install-recommends $$*; } </dev/null >$(BUILD)/deps.log 2>&1 ||
    tail -n 4 $(BUILD)/deps.log
  dpkg-query -W -f '✓ $${Package} $${Version}\n' $$* 2>/dev/null
  required=$$(lacking $(REQUIRED)) optional=$$(lacking $(OPTIONAL))
fi
for package in $$optional; do echo "deps: not found, and can be done without: $$package"; done
if [ "$$required" ]; then
  for package in $$required; do echo "deps: not found, and needed: $$package"; done
  echo "deps: (Debian's names.) Install them as root, or put headers and libraries anywhere and tell every make:"
  echo "      CXX=COMPILER CPPFLAGS=-IDIR LDFLAGS=-LDIR ONEDNN_HOME=DIR"
  exit 2
fi
endef
deps: export SCRIPT = $(DEPS)
deps: ## install what is missing with apt, where it can; elsewhere say what is missing and how to point to it
	@sh -c "$$SCRIPT"

# ---- The seams: the algorithm names no device library, and includes point one way.
UPPER := $(wildcard autograd nn split runners)
seams: ## check that device libraries stay behind tensor/, and that includes point one way
	@! grep -nErI '(cudnn|cublas|nccl|dnnl|cuda_runtime|mpi\.h|omp\.h|immintrin|<<<|Device::cuda)|^\s*$H\s*if' $(UPPER) \
	  || { echo 'seams: device libraries and conditional compilation belong in tensor/'; exit 2; }
	@status=0; sees() { from=$$1; shift; \
	  if [ -d $$from ] && grep -nErI "^\s*$H\s*include\s*\"" $$from | grep -vE "\"($$(echo $$from $$* | tr ' ' '|'))/"; \
	  then echo "seams: $$from/ may include only from $$from/ $$*"; status=2; fi; }; \
	sees tensor; sees data tensor; sees autograd tensor; sees nn tensor autograd; \
	sees split tensor autograd nn; sees runners tensor autograd nn split data; exit $$status

# ---- What people run. Each sets the machine up, builds, and then runs.
# The folder of a data set reaches the commands by the environment: any name will do, "/my data" too.
export DATA
# The + hands make's job slots on: make sees a literal $(MAKE) in a recipe only.
READY = +@$(MAKE) --no-print-directory deps && $(MAKE) --no-print-directory
test: ## build and run every test (SANITIZE=1 and SANITIZE=thread too)
	$(READY) all $(BUILD)/tests $(TOOLS) seams
	@BUILD=$(BUILD) SANITIZE=$(SANITIZE) bash tests/all.sh $(FLAGS)
test-extra: ## what make test skips where other programs are not there: installs them, and fails where it can't
	$(READY) all $(BUILD)/tests
	@BUILD=$(BUILD) bash tests/extra.sh
demo: ## grow a small network on Fashion-MNIST, in minutes
	$(READY) $(BUILD)/cifar $(BUILD)/report
	$(BUILD)/cifar $(DEMO_FLAGS) $(FLAGS)
	$(BUILD)/report runs/demo
demo-short: ## the same, cut short: does it run at all?
	$(READY) $(BUILD)/cifar $(BUILD)/report
	@rm -rf $(BUILD)/demo-short
	$(BUILD)/cifar $(SHORT_FLAGS) $(FLAGS)
	$(BUILD)/report $(BUILD)/demo-short
bench: ## time this machine: training and RQ-SGD steps
	$(READY) $(BUILD)/bench
	$(BUILD)/bench $(FLAGS)
bench-torch: ## the same jobs here and in PyTorch, in turns
	$(READY) $(BUILD)/bench
	BUILD=$(BUILD) bash tests/peers/compare.sh $(FLAGS)
gpu-check: ## on a machine with a GPU: is all of it right there, and how fast? one report to send back
	$(READY) all $(BUILD)/tests cuda
	$(BUILD)/gpu_check $(if $(findstring --report,$(FLAGS)),,--report $(BUILD)/gpu-check.txt) $(FLAGS)
bundle: ## sources and required headers in one file, for gpu-check on a machine without a network
	+@$(MAKE) --no-print-directory deps
	@CXX="$(CXX)" CPPFLAGS="$(CPPFLAGS)" bash tests/tools/bundle.sh $(BUILD)/fission-bundle.tar.gz
cifar10: WANTS = data_batch_1.bin ... data_batch_5.bin test_batch.bin, from cifar-10-binary.tar.gz
cifar100: WANTS = train.bin test.bin, from cifar-100-binary.tar.gz
cifar10 cifar100: ## grow on CIFAR by the paper's schedule: DATA=DIR with the published binary files [FLAGS="--recipe paper"]
	@if [ -z "$$DATA" ]; then echo "make $@ DATA=DIR: DIR holds $(WANTS)"; \
	  echo "  (the \"binary version\" on https://www.cs.toronto.edu/~kriz/cifar.html, unpacked)"; exit 2; fi
	$(READY) $(BUILD)/cifar
	$(BUILD)/cifar --dataset $@ --data "$$DATA" --out runs/$@ $(FLAGS)
imagenet: ## the paper's ImageNet table of a network: DATA=DIR [MODEL=v1|v2] [NP=processes]; without DATA: what to fetch, what it takes
	$(READY) $(if $(NP),MPI=1) $(BUILD)/imagenet
	$(if $(NP),mpirun -np $(NP)) $(BUILD)/imagenet $(if $(MODEL),--model $(MODEL)) $(if $(DATA),--data "$$DATA") $(FLAGS)
imagenet-smoke: ## the same on a small tree of synthetic images, interrupted and resumed on the way
	$(READY) $(BUILD)/imagenet $(BUILD)/imagenet-tree
	BUILD=$(BUILD) bash tests/imagenet.sh
audit: ## train a small network, check every equation on it, then everything against the authors' numbers
	$(READY) $(BUILD)/cifar $(BUILD)/audit
	$(BUILD)/cifar $(AUDIT_FLAGS)
	$(BUILD)/audit $(BUILD)/audited/round-0.safetensors --findings $(BUILD)/audited/round-0-audit.jsonl $(FLAGS)
	for file in tests/reference/*.safetensors; do $(BUILD)/audit --reference $$file || exit; done
FORMATTED = $(shell find autograd data nn runners split tensor tests -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')
format: ## format the code (clang-format 14, .clang-format)
	@clang-format -i $(FORMATTED)
format-check: ## is all code formatted?
	@clang-format --dry-run --Werror $(FORMATTED)
size: ## how much code there is, by folder; fails above the ceilings of tests/size.txt
	@bash tests/size.sh
mutants: ## change each line that carries an equation, one at a time: do the tests notice?
	$(READY) all $(BUILD)/tests
	BUILD=$(BUILD) bash tests/mutants.sh
fuzz: ## every reader of files on bytes that libFuzzer makes: [SECONDS=60] each [READERS="idx gzip"] [SEED=1]; needs clang
	@LIMIT=$(or $(SECONDS),60) READERS="$(READERS)" SEED=$(or $(SEED),1) BUILD=$(BUILD)/fuzz bash tests/fuzz/run.sh
study: ## does growing pay? hours of paired runs, then tables and plots; resumable: DATA=DIR [DATASET=cifar100] [RECIPE=short] [SEEDS="1 2"]
	@[ -n "$$DATA" ] || { echo "make $@ DATA=DIR: DIR holds the binary files of DATASET (cifar100, or cifar10), as for make cifar100"; exit 2; }
	$(READY) $(BUILD)/cifar $(BUILD)/prune
	BUILD=$(BUILD) FLAGS="$(FLAGS)" bash runners/study.sh
eval-zoo: ## the grown networks of runners/zoo: is each as accurate as it says? DATA=DIR of CIFAR-10 or CIFAR-100
	@[ -n "$$DATA" ] || { echo "make $@ DATA=DIR: DIR holds the binary files of CIFAR-10 or CIFAR-100"; exit 2; }
	$(READY) $(BUILD)/eval
	@BUILD=$(BUILD) bash runners/zoo/eval.sh
clean: ## remove what was built
	rm -rf $(BUILD)
help: ## this
	@sed -nE 's/^([a-z0-9 -]+):.*$H$H (.*)/make \1\t\2/p' Makefile | expand -t 24
	@sed -n '2,4s/^$H //p' Makefile
ifneq (,$(filter clean,$(MAKECMDGOALS)))
.NOTPARALLEL: # make clean all
endif
.PHONY: all probe cuda no-cuda $(LIGHT)
