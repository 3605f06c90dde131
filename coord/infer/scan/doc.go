// Package scan lists the files that a compile of the C family reads, without running the
// preprocessor: it runs the directives of every file with full macro expansion and nothing else.
//
// Directives are found once a file, lookups are kept for each search path until a directory on it
// changes, and the compiler is asked once for each set of flags: for its macros and directories,
// for the dialect it reads, and for __has_builtin and its like, whose answers are kept on disk. A
// unit is refused rather than guessed at; then the compiler has to be asked (cc -M). Where gcc
// and clang differ gcc's way is followed for gcc and clang's for clang. What one must know:
//
//   - a header that only __has_include asks for must be there where the task runs, and so must
//     the second name of a file that is read once; gcc -M lists neither (Result.Exists).
//   - a header that appears in an earlier directory of the search path is found by the next unit;
//     that of an -I that does not exist yet too (Result.Absent).
//   - ".." in a name leaves the directory that a symbolic link leads to, so it is not folded by
//     its letters (Result.Dirs).
//   - gcc goes on with the path of a system header that has no links in it if that is shorter,
//     and looks there for what the header includes (-fcanonical-system-headers).
//   - text is not expanded, so __COUNTER__ has no value here, and a pragma that an operator makes
//     is not seen: what may be such a one is refused by its letters.
//   - what is not seen: files that a plugin reads, directories of volumes whose time stamps do not
//     change, and names that differ by case only on a volume that takes them for the same.
//
// It gave what the compiler's own -M lists for some 1,450 units of Debian 12: public headers of
// libc, the kernel, libstdc++ and Boost, Lua, Redis and googletest.
package scan
