/* Keeps libarchive's other formats out of programs that link libarchive.a.
 *
 * Its tar writer reports an entry of an unsupported type through this function, which lies in one
 * object file with the table of all formats; linking that would need libxml2 and more. A
 * bundle holds regular files only, so nothing ever calls it. Linked ahead of libarchive by -u. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>

/* libarchive's own name. */
void __archive_write_entry_filetype_unsupported(struct archive* archive,
                                                struct archive_entry* entry, const char* format);

void __archive_write_entry_filetype_unsupported(struct archive* archive,
                                                struct archive_entry* entry, const char* format) {
  archive_set_error(archive, EINVAL, "%s: filetype not supported by %s",
                    archive_entry_pathname(entry), format);
}
