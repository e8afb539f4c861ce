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

PUBLIC int connect(int fd, const struct sockaddr *address, socklen_t length) {
    int type = 0, error = errno;
    socklen_t size = sizeof type;
    if (is_internet(address) && !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) && type == SOCK_STREAM && enter()) {
        tell_address('P', address, "");
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
