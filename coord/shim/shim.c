// Shim stands for a compiler, an archiver or a linker on a build's PATH. It sends its command line
// to the background process of gaggle, prints what comes back and ends as that says; or it runs
// the real tool, if it is told to or nobody answers.
//
// It is C, and static where that can be had, because a build starts one for each call: 1.7 ms
// against 12.8 ms of a Go program that does the same (measured on a slow machine, where a static
// true takes 1.7 ms).
//
// A message to the agent, integers in host order:
//
//	magic "gag1", bytes that follow (32 bits), umask (32), terminal (32, standard error is one),
//	count of arguments (32), of variables (32), then NUL-ended strings: the real tool, the working
//	directory, the arguments, the variables
//
// Where no variable says where the agent listens, the directory in which the shim was found may: in
// a masquerade directory .agent is a link to the socket and .state one to the state directory, and
// an agent that is not there is started, by coord, which lies beside the shim.
//
// What comes back are frames: a letter, the length (32 bits), that many bytes:
//
//	o, e   for standard output, and error
//	x      4 bytes: exit with this
//	r      run the real tool
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

extern char **environ;

// Where the agent listens. Empty: everything runs here.
static const char variable[] = "GAGGLE_TOOLS";

static char tool[PATH_MAX]; // the real one

// ours tells whether a program is this one, or another copy of it.
static int ours(const char *program) {
	struct stat self, other;
	char real[PATH_MAX];
	if (stat("/proc/self/exe", &self) || stat(program, &other)) return 0;
	if (self.st_dev == other.st_dev && self.st_ino == other.st_ino) return 1;
	if (!realpath(program, real)) return 0;
	return !strcmp(strrchr(real, '/') + 1, "gaggle-shim");
}

static int runs(const char *program) {
	struct stat s;
	return !stat(program, &s) && S_ISREG(s.st_mode) && !access(program, X_OK);
}

// next takes the first directory off a search path, adds a name, and returns the rest.
static const char *next(const char *path, const char *name, char *to, size_t room) {
	size_t n = strcspn(path, ":");
	*to = 0;
	if (n && n + strlen(name) + 2 <= room) snprintf(to, room, "%.*s/%s", (int)n, path, name);
	return path + n + (path[n] == ':');
}

// find finds the real tool: what our name leads to if that is not ourselves, else the first
// program along PATH of that name that is not.
static int find(const char *name) {
	if (strchr(name, '/') && runs(name) && !ours(name)) {
		char cwd[PATH_MAX] = "";
		if (*name != '/' && !getcwd(cwd, sizeof cwd)) return -1;
		int n = snprintf(tool, sizeof tool, "%s%s%s", cwd, *name == '/' ? "" : "/", name); // its links are part of its name
		return n < (int)sizeof tool ? 0 : -1;
	}
	if (strchr(name, '/')) name = strrchr(name, '/') + 1;
	for (const char *p = getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin"; *p;) {
		p = next(p, name, tool, sizeof tool);
		if (*tool && runs(tool) && !ours(tool)) return 0;
	}
	return -1;
}

// leave takes the directories in which name is ourselves out of PATH: what the tool starts by that
// name, as ccache does, is not to be us again.
static void leave(const char *name) {
	const char *p = getenv("PATH");
	char *rest = p ? calloc(1, strlen(p) + 2) : 0, candidate[PATH_MAX];
	while (rest && *p) {
		const char *dir = p;
		size_t n = strcspn(p, ":");
		p = next(p, name, candidate, sizeof candidate);
		if (*candidate && runs(candidate) && ours(candidate)) continue;
		if (*rest) strcat(rest, ":");
		strncat(rest, dir, n);
	}
	if (rest) setenv("PATH", rest, 1);
}

// compiles tells whether a name is that of a compiler, with whatever triplet and version.
static int compiles(const char *name) {
	return strstr(name, "cc") || strstr(name, "++") || strstr(name, "clang") || strstr(name, "c89") || strstr(name, "c99");
}

// local runs the real tool. As argv[0] a compiler has its own path: gcc seeks cc1 beside that. Others
// begin their messages with it. What it starts by way of PATH is not asked about again.
static void local(char **argv) {
	leave(strrchr(tool, '/') + 1);
	if (compiles(strrchr(tool, '/') + 1)) argv[0] = tool;
	setenv(variable, "", 1);
	execv(tool, argv);
	fprintf(stderr, "%s: %s\n", tool, strerror(errno));
	exit(127);
}

static int all(int fd, const void *data, size_t n) {
	for (const char *b = data; n;) {
		ssize_t k = write(fd, b, n);
		if (k < 0 && errno == EINTR) continue;
		if (k <= 0) return -1;
		b += k, n -= k;
	}
	return 0;
}

static int fill(int fd, void *data, size_t n) {
	for (char *b = data; n;) {
		ssize_t k = read(fd, b, n);
		if (k < 0 && errno == EINTR) continue;
		if (k <= 0) return -1;
		b += k, n -= k;
	}
	return 0;
}

static int dial(const char *path) {
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof a.sun_path) return -1;
	strcpy(a.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&a, sizeof a)) return fd;
	return -1;
}

// beside reads a link in the directory in which the shell has found us.
static int beside(const char *called, const char *link, char *to, size_t room) {
	char at[PATH_MAX], dir[PATH_MAX] = "";
	const char *slash = strrchr(called, '/');
	if (slash) {
		snprintf(dir, sizeof dir, "%.*s", (int)(slash - called), called);
	} else {
		for (const char *p = getenv("PATH") ? getenv("PATH") : ""; *p;) {
			p = next(p, called, at, sizeof at);
			if (!*at || !runs(at)) continue;
			if (!ours(at)) return -1;
			snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(at, '/') - at), at);
			break;
		}
	}
	if (snprintf(at, sizeof at, "%s/%s", dir, link) >= (int)sizeof at) return -1;
	ssize_t n = readlink(at, to, room - 1);
	if (n < 0) return -1;
	to[n] = 0;
	return 0;
}

// begin has coord start the agent, and this call asked again. It returns where that cannot be.
static void begin(int argc, char **argv, char *state) {
	char coord[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", coord, sizeof coord - 6);
	char **words = calloc(argc + 5, sizeof *words);
	if (n < 0 || !words) return;
	coord[n] = 0;
	strcpy(strrchr(coord, '/'), "/coord");
	char *own[] = {coord, "cc", "--state", state, tool};
	memcpy(words, own, sizeof own);
	memcpy(words + 5, argv + 1, argc * sizeof *argv); // its null pointer as well
	execv(coord, words);
	free(words);
}

static char *put(char *at, const char *s) { return stpcpy(at, s) + 1; }

// ask sends the command line.
static int ask(int fd, int argc, char **argv) {
	char cwd[PATH_MAX];
	if (!getcwd(cwd, sizeof cwd)) return -1;
	uint32_t head[6] = {0};
	memcpy(head, "gag1", 4);
	size_t size = sizeof head - 8 + strlen(tool) + strlen(cwd) + 2;
	for (int i = 1; i < argc; i++) size += strlen(argv[i]) + 1;
	for (char **e = environ; *e; e++) size += strlen(*e) + 1, head[5]++;
	if (size > 64 << 20) return -1; // more than the kernel passes to a program
	mode_t mask = umask(0);
	umask(mask);
	head[1] = size, head[2] = mask, head[3] = isatty(2), head[4] = argc - 1;
	char *b = malloc(size + 8), *at = b;
	if (!b) return -1;
	memcpy(at, head, sizeof head);
	at = put(put(at + sizeof head, tool), cwd);
	for (int i = 1; i < argc; i++) at = put(at, argv[i]);
	for (char **e = environ; *e; e++) at = put(at, *e);
	int err = all(fd, b, at - b);
	free(b);
	return err;
}

int main(int argc, char **argv) {
	if (argc < 1 || find(argv[0])) {
		fprintf(stderr, "%s: there is no such tool on PATH\n", argc ? argv[0] : "gaggle-shim");
		return 127;
	}
	const char *path = getenv(variable);
	char agent[PATH_MAX], state[PATH_MAX];
	int masked = !path && !beside(argv[0], ".agent", agent, sizeof agent) && !beside(argv[0], ".state", state, sizeof state);
	if (masked) path = agent;
	int fd = path && *path ? dial(path) : -1;
	if (fd < 0 && masked) begin(argc, argv, state);
	if (fd < 0 || ask(fd, argc, argv)) local(argv);
	for (int said = 0;;) {
		char kind;
		uint32_t n, code;
		char b[16 << 10];
		if (fill(fd, &kind, 1) || fill(fd, &n, 4)) {
			if (!said) local(argv); // the agent is gone, and nothing has happened yet
			fprintf(stderr, "%s: the background process of gaggle went away; run it again\n", argv[0]);
			return 1;
		}
		switch (kind) {
		case 'x':
			return n == 4 && !fill(fd, &code, 4) ? (int)code : 1;
		case 'r':
			local(argv);
		}
		for (said = 1; n;) {
			size_t k = n < sizeof b ? n : sizeof b;
			if (fill(fd, b, k)) break;
			all(kind == 'o' ? 1 : 2, b, k);
			n -= k;
		}
	}
}
