/* Bounded lines and the few text functions. */
#include "test.h"

static void lines_are_cut_at_their_size(void)
{
	LINE(line, 8);

	line_text(&line, "12345");
	CHECK(!line.full);
	line_text(&line, "6789");
	CHECK(line.full);
	CHECK_TEXT(&line, "1234567");
}

static void numbers_of_every_size(void)
{
	LINE(line, 128);

	line_number(&line, 0);
	line_text(&line, " ");
	line_number(&line, -1);
	line_text(&line, " ");
	line_number(&line, INT64_MIN);
	line_text(&line, " ");
	line_padded(&line, UINT64_MAX, 3);
	line_text(&line, " ");
	line_padded(&line, 7, 3);
	CHECK_TEXT(&line, "0 -1 -9223372036854775808 18446744073709551615 007");
}

static void texts_compare(void)
{
	CHECK(text_equal("", "") && text_equal("a", "a"));
	CHECK(!text_equal("a", "ab") && !text_equal("ab", "a"));
	CHECK(text_starts("abc", "ab") && text_starts("abc", "") && text_starts("abc", "abc"));
	CHECK(!text_starts("ab", "abc") && !text_starts("", "a"));
}

static void descriptors_have_paths(void)
{
	char path[40];

	CHECK(text_equal(fd_path(7, path), "/proc/self/fd/7"));
	CHECK(text_equal(fd_path(2147483647, path), "/proc/self/fd/2147483647"));
}

int main(void)
{
	lines_are_cut_at_their_size();
	numbers_of_every_size();
	texts_compare();
	descriptors_have_paths();
	puts("text: ok");
	return 0;
}
