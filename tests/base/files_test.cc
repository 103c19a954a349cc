#include "base/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

namespace Atoll {
namespace {

namespace fs = std::filesystem;

struct FilesTest : testing::Test {
    fs::path folder = fs::path(testing::TempDir()) / "atoll_files_test";
    FilesTest() {
        fs::remove_all(folder);
        fs::create_directories(folder);
    }
    ~FilesTest() override { fs::remove_all(folder); }
};

TEST_F(FilesTest, What_is_written_reads_back_and_leaves_no_temporary) {
    ASSERT_TRUE(write_file(folder / "deep" / "a.txt", std::string_view("hello")).ok());
    EXPECT_EQ(read_text(folder / "deep" / "a.txt").value(), "hello");
    EXPECT_EQ(std::distance(fs::directory_iterator(folder / "deep"), {}), 1);
}

TEST_F(FilesTest, Absent_file_is_not_found_and_named) {
    const auto result = read_file(folder / "none", 100);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, ErrorCode::not_found);
    EXPECT_THAT(result.error().message, testing::HasSubstr("none"));
}

TEST_F(FilesTest, Bound_is_allowed_and_one_past_it_is_not) {
    ASSERT_TRUE(write_file(folder / "b", std::string_view("12345")).ok());
    EXPECT_TRUE(read_file(folder / "b", 5).ok());
    EXPECT_FALSE(read_file(folder / "b", 4).ok());
}

TEST_F(FilesTest, Uncommitted_writer_leaves_the_old_file) {
    ASSERT_TRUE(write_file(folder / "c", std::string_view("old")).ok());
    {
        auto writer = FileWriter::create(folder / "c");
        ASSERT_TRUE(writer.ok());
        ASSERT_TRUE(writer->append(as_byte_view("new")).ok());
    }
    EXPECT_EQ(read_text(folder / "c").value(), "old");
    EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 1);
    auto writer = FileWriter::create(folder / "c");
    ASSERT_TRUE(writer->append(as_byte_view("xew")).ok());
    ASSERT_TRUE(writer->overwrite(0, as_byte_view("n")).ok());
    ASSERT_TRUE(writer->commit().ok());
    EXPECT_EQ(read_text(folder / "c").value(), "new");
}

TEST_F(FilesTest, Full_disk_is_an_error_and_leaves_nothing) {
    const Status status = write_file("/dev/full/x", std::string_view("x"));
    EXPECT_FALSE(status.ok());
}

TEST_F(FilesTest, Lock_is_exclusive_and_freed) {
    {
        auto first = FileLock::acquire(folder / "lock");
        ASSERT_TRUE(first.ok());
        const auto second = FileLock::acquire(folder / "lock");
        ASSERT_FALSE(second.ok());
        EXPECT_EQ(second.error().code, ErrorCode::unavailable);
    }
    EXPECT_TRUE(FileLock::acquire(folder / "lock").ok());
}

TEST_F(FilesTest, Mapping_shows_the_bytes) {
    ASSERT_TRUE(write_file(folder / "m", std::string_view("abc")).ok());
    const auto mapped = MappedFile::open(folder / "m");
    ASSERT_TRUE(mapped.ok());
    EXPECT_EQ(to_hex(mapped->view()), "616263");
    ASSERT_TRUE(write_file(folder / "empty", std::string_view()).ok());
    EXPECT_TRUE(MappedFile::open(folder / "empty")->view().empty());
}

}  // namespace
}  // namespace Atoll
