# Compiler settings and the functions by which every folder declares its targets.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Protobuf REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
pkg_check_modules(FUSE3 REQUIRED IMPORTED_TARGET fuse3)
pkg_check_modules(FABRIC REQUIRED IMPORTED_TARGET libfabric)
pkg_check_modules(ISAL REQUIRED IMPORTED_TARGET libisal)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(GRPC REQUIRED IMPORTED_TARGET grpc++)
find_package(leveldb REQUIRED)
find_package(GTest REQUIRED)
find_package(rapidcheck REQUIRED)

# What every target of ours is compiled with. Generated code is not held to it.
add_library(f3_options INTERFACE)
target_include_directories(f3_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
target_compile_options(f3_options INTERFACE -Wall -Wextra -Werror -fno-omit-frame-pointer)
target_compile_definitions(f3_options INTERFACE _FILE_OFFSET_BITS=64)
target_link_libraries(f3_options INTERFACE Threads::Threads)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(f3_options INTERFACE -Wthread-safety -Werror=thread-safety)
endif()
if(F3_SANITIZE)
  add_compile_options(-fsanitize=${F3_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${F3_SANITIZE})
endif()
if(F3_COVERAGE)
  add_compile_options(--coverage)
  add_link_options(--coverage)
endif()
if(F3_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# f3_library(NAME SOURCES file... LINKS target...): the library of one folder.
function(f3_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC f3_options ${ARG_LINKS})
endfunction()

# f3_proto_library(NAME file.proto...): messages and gRPC services of this folder. Apart from
# f3_library, because generated code is not compiled with our warnings.
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
function(f3_proto_library name)
  set(generated)
  foreach(proto ${ARGN})
    string(REGEX REPLACE "\\.proto$" "" stem ${CMAKE_CURRENT_BINARY_DIR}/${proto})
    list(APPEND generated ${stem}.pb.cc ${stem}.pb.h ${stem}.grpc.pb.cc ${stem}.grpc.pb.h)
  endforeach()
  list(TRANSFORM ARGN PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/ OUTPUT_VARIABLE protos)
  add_custom_command(
    OUTPUT ${generated}
    COMMAND protobuf::protoc --proto_path=${CMAKE_SOURCE_DIR} --cpp_out=${CMAKE_BINARY_DIR}
            --grpc_out=${CMAKE_BINARY_DIR} --plugin=protoc-gen-grpc=${GRPC_CPP_PLUGIN} ${protos}
    DEPENDS ${protos})
  add_library(${name} STATIC ${generated})
  target_include_directories(${name} PUBLIC ${CMAKE_BINARY_DIR})
  target_link_libraries(${name} PUBLIC protobuf::libprotobuf PkgConfig::GRPC)
endfunction()

# Builds every unit test and nothing that no test needs.
add_custom_target(unit_tests)
# What end-to-end tests run: f3 and what lies beside it.
add_custom_target(e2e_programs)

# f3_test(NAME SOURCES file... LINKS target... [LABELS l...]): one gtest binary of the unit tests.
function(f3_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE f3_options ${ARG_LINKS} GTest::gtest_main GTest::gmock
                        rapidcheck)
  add_dependencies(unit_tests ${name})
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 300)
endfunction()

# f3_fuzzer(NAME SOURCES file... LINKS target...): a libFuzzer target, only with F3_FUZZ.
function(f3_fuzzer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  if(F3_FUZZ)
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE f3_options ${ARG_LINKS})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  endif()
endfunction()
