/* The Node.js side of libxdt: promises that are settled by a thread of Node's pool.
 *
 *   put(Uint8Array, lifetimeMs, retrievals, action, timeoutMs)  -> Promise of a reference
 *   get(reference, timeoutMs)                                   -> Promise of an ArrayBuffer
 *   remove(reference, timeoutMs)                                -> Promise of undefined
 *
 * index.js is what people use. Each JavaScript environment has one connection, made at the first use.
 * A Call owns what it refers to until its promise is settled; an ArrayBuffer owns its view.
 */
#define NAPI_VERSION 8
#include <node_api.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../libxdt/xdt.h"

#define MAX_ACTION 512
#define MAX_MESSAGE 512

typedef struct {
  pthread_mutex_t mutex;
  xdt* connection; /* under the mutex until it is set, then constant */
} instance;

typedef enum { CALL_PUT, CALL_GET, CALL_REMOVE } call_kind;

typedef struct {
  call_kind kind;
  instance* owner;
  napi_async_work work;
  napi_deferred deferred;
  napi_ref bytes_ref; /* keeps the bytes of a put */
  const void* bytes;
  size_t length;
  xdt_put_options options;
  char action[MAX_ACTION];
  char reference[XDT_REF_CHARS];
  int timeout_ms;
  xdt_view* view; /* of a get */
  int code;
  char message[MAX_MESSAGE];
} call;

/* ---- In a thread of the pool. ---- */

static int connect_once(instance* self, xdt** out) {
  int code = XDT_OK;
  pthread_mutex_lock(&self->mutex);
  if (self->connection == NULL) code = xdt_open(NULL, &self->connection);
  *out = self->connection;
  pthread_mutex_unlock(&self->mutex);
  return code;
}

static void execute(napi_env env, void* data) {
  (void)env;
  call* self = data;
  xdt* connection = NULL;
  self->code = connect_once(self->owner, &connection);
  if (self->code == XDT_OK) {
    switch (self->kind) {
      case CALL_PUT:
        self->code = xdt_put_bytes(connection, self->bytes, self->length, &self->options,
                                   self->timeout_ms, self->reference);
        break;
      case CALL_GET:
        self->code = xdt_get(connection, self->reference, self->timeout_ms, &self->view);
        break;
      case CALL_REMOVE:
        self->code = xdt_delete(connection, self->reference, self->timeout_ms);
        break;
    }
  }
  if (self->code != XDT_OK) {
    snprintf(self->message, sizeof self->message, "%s: %s", xdt_code_text(self->code),
             xdt_last_message()); /* of this thread */
  }
}

/* ---- In the JavaScript thread. ---- */

static void release_view(napi_env env, void* data, void* hint) {
  (void)env;
  (void)data;
  xdt_release(hint);
}

static napi_status make_array_buffer(napi_env env, xdt_view** view, napi_value* out) {
  const size_t length = xdt_view_bytes(*view);
  if (length == 0) {
    void* nothing;
    return napi_create_arraybuffer(env, 0, &nothing, out);
  }
  const napi_status status = napi_create_external_arraybuffer(
      env, (void*)xdt_view_data(*view), length, release_view, *view, out);
  if (status == napi_ok) *view = NULL; /* the ArrayBuffer's */
  return status;
}

static napi_value make_error(napi_env env, const char* text, int code) {
  napi_value message, error, number;
  if (napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message) != napi_ok ||
      napi_create_error(env, NULL, message, &error) != napi_ok) {
    return NULL;
  }
  if (code != 0 && napi_create_int32(env, code, &number) == napi_ok) {
    napi_set_named_property(env, error, "code", number);
  }
  return error;
}

static void settle(napi_env env, call* self) {
  napi_value value = NULL;
  napi_status status = napi_generic_failure;
  if (self->code != XDT_OK) {
    value = make_error(env, self->message, self->code);
    if (value != NULL) napi_reject_deferred(env, self->deferred, value);
    return;
  }
  switch (self->kind) {
    case CALL_PUT:
      status = napi_create_string_latin1(env, self->reference, NAPI_AUTO_LENGTH, &value);
      break;
    case CALL_GET:
      status = make_array_buffer(env, &self->view, &value);
      break;
    case CALL_REMOVE:
      status = napi_get_undefined(env, &value);
      break;
  }
  if (status == napi_ok) {
    napi_resolve_deferred(env, self->deferred, value);
  } else {
    value = make_error(env, "Node.js refused to make the value", 0);
    if (value != NULL) napi_reject_deferred(env, self->deferred, value);
  }
}

static void free_call(napi_env env, call* self) {
  if (self->view != NULL) xdt_release(self->view);
  if (self->bytes_ref != NULL) napi_delete_reference(env, self->bytes_ref);
  if (self->work != NULL) napi_delete_async_work(env, self->work);
  free(self);
}

static void complete(napi_env env, napi_status status, void* data) {
  call* self = data;
  if (status == napi_cancelled) {
    self->code = XDT_AGAIN;
    snprintf(self->message, sizeof self->message, "Node.js is ending");
  }
  settle(env, self);
  free_call(env, self);
}

static int read_text(napi_env env, napi_value value, char* into, size_t room) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok || length >= room) {
    return 0;
  }
  return napi_get_value_string_utf8(env, value, into, room, &length) == napi_ok;
}

/* The arguments of put. */
static int read_put(napi_env env, const napi_value* arguments, call* self) {
  napi_typedarray_type type;
  void* bytes = NULL;
  int64_t lifetime_ms = 0;
  if (napi_get_typedarray_info(env, arguments[0], &type, &self->length, &bytes, NULL, NULL) !=
          napi_ok ||
      type != napi_uint8_array ||
      napi_create_reference(env, arguments[0], 1, &self->bytes_ref) != napi_ok ||
      napi_get_value_int64(env, arguments[1], &lifetime_ms) != napi_ok || lifetime_ms < 0 ||
      napi_get_value_uint32(env, arguments[2], &self->options.retrievals) != napi_ok ||
      !read_text(env, arguments[3], self->action, sizeof self->action)) {
    return 0;
  }
  self->bytes = bytes;
  self->options.lifetime_ms = (uint64_t)lifetime_ms;
  self->options.action = self->action[0] == '\0' ? NULL : self->action;
  return napi_get_value_int32(env, arguments[4], &self->timeout_ms) == napi_ok;
}

static int read_get(napi_env env, const napi_value* arguments, call* self) {
  return read_text(env, arguments[0], self->reference, sizeof self->reference) &&
         napi_get_value_int32(env, arguments[1], &self->timeout_ms) == napi_ok;
}

static napi_value start(napi_env env, napi_callback_info info, call_kind kind) {
  napi_value arguments[5], name, promise = NULL;
  size_t count = 5;
  void* owner = NULL;
  call* self = calloc(1, sizeof *self);
  if (self == NULL || napi_get_cb_info(env, info, &count, arguments, NULL, NULL) != napi_ok ||
      napi_get_instance_data(env, &owner) != napi_ok) {
    free(self);
    napi_throw_error(env, NULL, "no memory");
    return NULL;
  }
  self->kind = kind;
  self->owner = owner;
  const int readable = kind == CALL_PUT ? read_put(env, arguments, self)
                                        : read_get(env, arguments, self);
  if (!readable) {
    free_call(env, self);
    napi_throw_type_error(env, NULL, "wrong arguments: see f3's index.js");
    return NULL;
  }
  if (napi_create_string_utf8(env, "f3", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_async_work(env, NULL, name, execute, complete, self, &self->work) != napi_ok ||
      napi_create_promise(env, &self->deferred, &promise) != napi_ok ||
      napi_queue_async_work(env, self->work) != napi_ok) {
    free_call(env, self);
    napi_throw_error(env, NULL, "Node.js takes no more work");
    return NULL;
  }
  return promise;
}

static napi_value put(napi_env env, napi_callback_info info) { return start(env, info, CALL_PUT); }
static napi_value get(napi_env env, napi_callback_info info) { return start(env, info, CALL_GET); }
static napi_value remove_value(napi_env env, napi_callback_info info) {
  return start(env, info, CALL_REMOVE);
}

/* The connection stays open until the process ends: views of it may be collected after this. */
static void free_instance(napi_env env, void* data, void* hint) {
  (void)env;
  (void)hint;
  instance* self = data;
  pthread_mutex_destroy(&self->mutex);
  free(self);
}

NAPI_MODULE_INIT() {
  const struct {
    const char* name;
    napi_callback function;
  } functions[] = {{"put", put}, {"get", get}, {"remove", remove_value}};
  instance* self = calloc(1, sizeof *self);
  if (self == NULL || napi_set_instance_data(env, self, free_instance, NULL) != napi_ok) {
    free(self);
    napi_throw_error(env, NULL, "no memory");
    return NULL;
  }
  pthread_mutex_init(&self->mutex, NULL);
  for (size_t i = 0; i < sizeof functions / sizeof functions[0]; ++i) {
    napi_value function;
    if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL,
                             &function) != napi_ok ||
        napi_set_named_property(env, exports, functions[i].name, function) != napi_ok) {
      return NULL;
    }
  }
  return exports;
}
