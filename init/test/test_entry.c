/* The two log formats, byte by byte. */
#include "test.h"

#include "../entry.h"
#include "wire_table.h"

static const struct time now = { 1767323045, 123456789 };

static void json(const char *data, size_t length, bool whole, const char *expected)
{
	LINE(line, 512);
	LINE(full, 512);
	struct entry entry = { "stdout", data, length, whole, now };

	entry_put(&line, LOG_JSON, &entry);
	line_text(&full, "{\"log\":\"");
	line_text(&full, expected);
	line_text(&full, "\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.123456789Z\"}\n");
	CHECK_TEXT(&line, line_end(&full));
	CHECK(line.length <= entry_room(length));
}

#define JSON(data, expected) json(data, sizeof data - 1, true, expected "\\n")

static void json_escapes_as_docker_does(void)
{
	JSON("hello", "hello");
	JSON("", "");
	JSON("a\"b\\c", "a\\\"b\\\\c");
	JSON("\r\t\001\0x\177", "\\r\\u0009\\u0001\\u0000x\177");
	JSON("<script> & co", "\\u003cscript\\u003e \\u0026 co");
	JSON("\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa", "\\u2028\\u2029\xe2\x80\xaa");
}

static void json_keeps_utf8_and_replaces_the_rest(void)
{
	JSON("\xc3\xa4\xe6\xbc\xa2\xf0\x9f\x90\xb3", "\xc3\xa4\xe6\xbc\xa2\xf0\x9f\x90\xb3");
	JSON("\xff", "\\ufffd");
	JSON("a\xe4\xb8", "a\\ufffd\\ufffd");
	JSON("\xc0\xaf", "\\ufffd\\ufffd");
	JSON("\xe0\x80\x80", "\\ufffd\\ufffd\\ufffd");
	JSON("\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd");
	JSON("\xf0\x80\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd");
	JSON("\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd");
	JSON("\xf5\x80", "\\ufffd\\ufffd");
	JSON("\xc3(", "\\ufffd(");
}

static void parts_have_no_newline(void)
{
	json("part", 4, false, "part");
}

static void cri(const char *data, bool whole, const char *expected)
{
	LINE(line, 256);
	struct entry entry = { "stderr", data, strlen(data), whole, now };

	entry_put(&line, LOG_CRI, &entry);
	CHECK_TEXT(&line, expected);
}

static void cri_is_raw(void)
{
	cri("a \"b\" \xff", true, "2026-01-02T03:04:05.123456789Z stderr F a \"b\" \xff\n");
	cri("", true, "2026-01-02T03:04:05.123456789Z stderr F \n");
	cri("part", false, "2026-01-02T03:04:05.123456789Z stderr P part\n");
}

#define CUT(data) whole_characters(data, sizeof data - 1)

static void characters_are_not_cut(void)
{
	CHECK(CUT("abc") == 3);
	CHECK(CUT("ab\xc3") == 2 && CUT("ab\xc3\xa4") == 4);
	CHECK(CUT("ab\xe6\xbc") == 2 && CUT("ab\xe6\xbc\xa2") == 5);
	CHECK(CUT("ab\xf0\x9f\x90") == 2 && CUT("ab\xf0\x9f\x90\xb3") == 6);
	/* no character at all: nothing is held back for it, and there is always progress */
	CHECK(CUT("a\x80\x80\x80\x80") == 5);
	CHECK(CUT("\xf0") == 1);
	CHECK(CUT("") == 0);
}

int main(void)
{
	json_escapes_as_docker_does();
	json_keeps_utf8_and_replaces_the_rest();
	parts_have_no_newline();
	cri_is_raw();
	characters_are_not_cut();
	puts("entry: ok");
	return 0;
}
