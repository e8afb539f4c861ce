/* Peers in the network, and ports that the program serves itself. */
static void tell_address(char kind, const struct sockaddr *address, const char *name) {
    char text[INET6_ADDRSTRLEN], head[INET6_ADDRSTRLEN + 16];
    int port;
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *four = (const void *)address;
        port = ntohs(four->sin_port);
        inet_ntop(AF_INET, &four->sin_addr, text, sizeof text);
    } else {
        const struct sockaddr_in6 *six = (const void *)address;
        port = ntohs(six->sin6_port);
        inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof text);
    }
    snprintf(head, sizeof head, "%s %d ", text, port);
    char key[2 * INET6_ADDRSTRLEN + 300];
    snprintf(key, sizeof key, "%s%.256s", head, name);
    if ((port || kind == 'N') && first_time(kind, key)) record(kind, head, name, NULL);
}

static int is_internet(const struct sockaddr *address) {
    return address && (address->sa_family == AF_INET || address->sa_family == AF_INET6);
}

static int type_of(int fd) {
    int type = 0;
    socklen_t size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) ? 0 : type;
}

/* A socket that stands in the file system. u: a program connected to it, b: the tree serves it. */
static void tell_socket(char kind, const struct sockaddr *address, socklen_t length) {
    const struct sockaddr_un *un = (const void *)address;
    char path[sizeof un->sun_path + 1] = "";
    size_t at = offsetof(struct sockaddr_un, sun_path), n = length > at ? length - at : 0;
    memcpy(path, un->sun_path, n < sizeof un->sun_path ? n : sizeof un->sun_path);
    size_t whole = *path ? absolute(AT_FDCWD, path) : 0;
    if (whole && first_time(kind, path_buffer)) record(kind, "", path_buffer, NULL);
}

/* Datagrams: to be connected means nothing, since that is how a program asks for its own address. */
#define CONNECTIONS 4096
static _Atomic unsigned char datagrams[CONNECTIONS];

static void sends(int fd, const struct sockaddr *to) {
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    int error = errno, known = fd >= 0 && fd < CONNECTIONS && datagrams[fd];
    if (!active || (!to && !known)) return;
    if (!to) {
        datagrams[fd] = 0;
        if (!getpeername(fd, (struct sockaddr *)&peer, &size)) to = (const void *)&peer;
    }
    if (is_internet(to) && type_of(fd) == SOCK_DGRAM) {
        int port = ntohs(((const struct sockaddr_in *)(const void *)to)->sin_port);
        int serves_the_machine = port == 53 || port == 123 || port == 514 || port == 5353;
        if (!serves_the_machine && enter()) tell_address('P', to, ""), leave();
    }
    errno = error;
}

PUBLIC ssize_t send(int fd, const void *bytes, size_t size, int flags) {
    sends(fd, NULL);
    REAL(ssize_t, "send", int, const void *, size_t, int);
    return real(fd, bytes, size, flags);
}

PUBLIC ssize_t sendto(int fd, const void *bytes, size_t size, int flags, const struct sockaddr *to, socklen_t length) {
    sends(fd, to);
    REAL(ssize_t, "sendto", int, const void *, size_t, int, const struct sockaddr *, socklen_t);
    return real(fd, bytes, size, flags, to, length);
}

PUBLIC int connect(int fd, const struct sockaddr *address, socklen_t length) {
    int error = errno;
    int type = is_internet(address) ? type_of(fd) : 0;
    if (active && type == SOCK_DGRAM && fd >= 0 && fd < CONNECTIONS) datagrams[fd] = 1;
    if (type == SOCK_STREAM && enter()) {
        tell_address('P', address, "");
        leave();
    } else if (address && address->sa_family == AF_UNIX && enter()) {
        tell_socket('u', address, length);
        leave();
    }
    errno = error;
    REAL(int, "connect", int, const struct sockaddr *, socklen_t);
    return real(fd, address, length);
}

PUBLIC int bind(int fd, const struct sockaddr *address, socklen_t length) {
    REAL(int, "bind", int, const struct sockaddr *, socklen_t);
    int result = real(fd, address, length), error = errno;
    struct sockaddr_storage got;
    socklen_t size = sizeof got;
    if (!result && is_internet(address) && !getsockname(fd, (struct sockaddr *)&got, &size) && enter()) {
        tell_address('B', (struct sockaddr *)&got, "");
        leave();
    }
    if (!result && address->sa_family == AF_UNIX && enter()) {
        tell_socket('b', address, length);
        leave();
    }
    errno = error;
    return result;
}

PUBLIC int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    REAL(int, "getaddrinfo", const char *, const char *, const struct addrinfo *, struct addrinfo **);
    int result = real(host, service, hints, found), error = errno;
    if (!result && host && enter()) {
        int most = 16;
        for (struct addrinfo *at = *found; at && most--; at = at->ai_next)
            if (is_internet(at->ai_addr)) tell_address('N', at->ai_addr, host);
        leave();
    }
    errno = error;
    return result;
}
