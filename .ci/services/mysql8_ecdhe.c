/* MySQL 8.0.12 brings OpenSSL 1.0.2, where a server offers no ECDHE unless it configures it, which this one does not;
   rustls asks for it. This does what later versions of MySQL do: preloaded, it wraps SSL_CTX_new. */
#define _GNU_SOURCE
#include <dlfcn.h>

enum { SET_ECDH_AUTO = 94 }; /* SSL_CTRL_SET_ECDH_AUTO of OpenSSL 1.0.2 */

void *SSL_CTX_new(const void *method) {
  void *(*create)(const void *) = (void *(*)(const void *))dlsym(RTLD_NEXT, "SSL_CTX_new");
  long (*control)(void *, int, long, void *) = (long (*)(void *, int, long, void *))dlsym(RTLD_NEXT, "SSL_CTX_ctrl");
  void *context = create(method);
  if (context) control(context, SET_ECDH_AUTO, 1, 0);
  return context;
}
