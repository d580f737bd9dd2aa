#include "entry.h"

#include "clock.h"
#include "wire_table.h"

/* Bytes of the UTF-8 character that begins here; 0: none does.  Refuses what Go and Python refuse (Unicode 15, table
 * 3-7): overlong forms, surrogates, anything above U+10FFFF. */
static size_t character(const unsigned char *at, size_t left)
{
	size_t length = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;

	if (length > left)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f))
		return 0;
	if ((at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
		return 0;
	return length;
}

static bool plain(unsigned char byte)
{
	return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\' && byte != '<' && byte != '>' && byte != '&';
}

static void put_code(struct line *out, unsigned int code)
{
	static const char digits[] = "0123456789abcdef";
	char text[6] = "\\u";

	for (int i = 0; i < 4; i++)
		text[2 + i] = digits[code >> (12 - 4 * i) & 15];
	line_bytes(out, text, sizeof text);
}

static void put_ascii(struct line *out, char byte)
{
	char text[2] = { '\\', byte == '\n' ? 'n' : byte == '\r' ? 'r' : byte };

	if (byte == '"' || byte == '\\' || byte == '\n' || byte == '\r')
		line_bytes(out, text, 2);
	else
		put_code(out, (unsigned char)byte);
}

/* Escapes what Docker's json-file escapes: also < > & and the two Unicode line separators, which are harmless in JSON
 * but not in a web page's script; each byte that is not UTF-8 becomes U+FFFD. */
static void put_escaped(struct line *out, const char *data, size_t length)
{
	const unsigned char *at = (const unsigned char *)data, *end = at + length;

	while (at < end) {
		const unsigned char *from = at;
		size_t size;

		while (at < end && plain(*at))
			at++;
		line_bytes(out, (const char *)from, (size_t)(at - from));
		if (at == end)
			return;
		size = character(at, (size_t)(end - at));
		if (size == 1)
			put_ascii(out, (char)*at);
		else if (size == 0)
			put_code(out, 0xfffd);
		else if (size == 3 && at[0] == 0xe2 && at[1] == 0x80 && (at[2] & 0xfe) == 0xa8)
			put_code(out, 0x2000u | (at[2] & 0x3fu));
		else
			line_bytes(out, (const char *)at, size);
		at += size ? size : 1;
	}
}

static void put_json(struct line *out, const struct entry *entry)
{
	line_text(out, "{\"log\":\"");
	put_escaped(out, entry->data, entry->length);
	line_text(out, entry->whole ? "\\n\",\"stream\":\"" : "\",\"stream\":\"");
	line_text(out, entry->stream);
	line_text(out, "\",\"time\":\"");
	line_time(out, entry->time);
	line_text(out, "\"}\n");
}

static void put_cri(struct line *out, const struct entry *entry)
{
	line_time(out, entry->time);
	line_text(out, " ");
	line_text(out, entry->stream);
	line_text(out, entry->whole ? " F " : " P ");
	line_bytes(out, entry->data, entry->length);
	line_text(out, "\n");
}

void entry_put(struct line *out, uint64_t format, const struct entry *entry)
{
	if (format == LOG_JSON)
		put_json(out, entry);
	else
		put_cri(out, entry);
}

size_t whole_characters(const char *data, size_t length)
{
	for (size_t tail = 1; tail <= 3 && tail < length; tail++) {
		unsigned char byte = (unsigned char)data[length - tail];
		size_t wanted = byte < 0xc2 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;

		if ((byte & 0xc0) != 0x80)
			return wanted > tail ? length - tail : length;
	}
	return length;
}
