// The named sessions of all tenants: names, lifetimes and limits. What a session holds is the engine's
// business.
#ifndef MEMGATE_SERVER_SESSION_REGISTRY_H_
#define MEMGATE_SERVER_SESSION_REGISTRY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "engine/engine.h"

namespace memgate {

struct RegistryLimits {
  int max_sessions = 1024;
  int max_sessions_per_tenant = 256;
};

using Labels = std::map<std::string, std::string>;

// What a registry knows about a session.
struct SessionRecord {
  std::string id;  // {session} of `sessions/{session}`
  std::shared_ptr<Session> session;
  absl::Time create_time;
  absl::Time last_used_time;
  absl::Duration ttl;  // zero = never deleted
  Labels labels;

  absl::Time expire_time() const {
    return ttl == absl::ZeroDuration() ? absl::InfiniteFuture() : last_used_time + ttl;
  }
};

struct SessionSettings {
  absl::Duration ttl;
  Labels labels;
};

// Thread-safe. Sessions expire `ttl` after their last use, never during one; an expired session is gone for
// every caller at once; its bytes return when somebody asks for it or with the next RemoveExpired. No lock is
// held while the engine works. The engine and the registry must outlive all Uses.
class SessionRegistry {
  struct Entry;

 public:
  // The right to work with one session: holds its lease, keeps it from expiring, and lets Delete cancel the
  // turn that runs. Destroying it counts as the moment of last use. Not thread-safe, except Attach.
  class Use {
   public:
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

    const std::shared_ptr<SessionLease>& lease() const { return lease_; }
    // Gives the lease away: to a turn, which returns it as it ends, before anybody hears of the end.
    std::shared_ptr<SessionLease> TakeLease() { return std::move(lease_); }
    const std::shared_ptr<Session>& session() const;
    // Names the turn that runs on the lease. If the session was deleted already, the turn is cancelled.
    void Attach(std::shared_ptr<Turn> turn);
    // `on_delete` is called once if the session is deleted during this use, at once if it was already;
    // without the registry's lock and perhaps while this use ends. For a use that waits with no turn running;
    // at most one per use.
    void OnDelete(std::function<void()> on_delete);
    // Whether the session was deleted since this use began.
    bool deleted() const;
    // ttl and labels as they are now.
    SessionSettings settings() const;

   private:
    friend class SessionRegistry;
    Use(SessionRegistry& registry, std::shared_ptr<Entry> entry)
        : registry_(registry), entry_(std::move(entry)) {}
    SessionRegistry& registry_;
    std::shared_ptr<Entry> entry_;
    std::shared_ptr<SessionLease> lease_;
    bool has_on_delete_ = false;
  };

  using Clock = std::function<absl::Time()>;
  SessionRegistry(Engine& engine, RegistryLimits limits, Clock clock);

  // Makes a session under `id` (empty = a random one). `make` runs between reserving the name and showing the
  // session to others; its error is returned. With a `request_id` that made a session which still lives, that
  // one is returned. ALREADY_EXISTS, RESOURCE_EXHAUSTED (SESSION_LIMIT), ABORTED (REQUEST_IN_PROGRESS).
  using Maker = std::function<absl::StatusOr<std::shared_ptr<Session>>()>;
  absl::StatusOr<SessionRecord> Create(const std::string& tenant, const std::string& id,
                                       const SessionSettings& settings, const std::string& request_id,
                                       const Maker& make);

  // NOT_FOUND if the tenant has no such session. Does not count as a use.
  absl::StatusOr<SessionRecord> Get(const std::string& tenant, const std::string& id);
  // Up to `limit` sessions of the tenant whose id is greater than `after`, in id order.
  std::vector<SessionRecord> List(const std::string& tenant, const std::string& after, int limit);
  // Changes what is given and counts as a use. NOT_FOUND.
  absl::StatusOr<SessionRecord> Update(const std::string& tenant, const std::string& id,
                                       std::optional<absl::Duration> ttl, std::optional<Labels> labels);
  // Forgets the session, cancels its turn and tells its use; its bytes return when both have ended.
  // NOT_FOUND.
  absl::Status Delete(const std::string& tenant, const std::string& id);

  // NOT_FOUND, ABORTED (SESSION_BUSY).
  absl::StatusOr<std::unique_ptr<Use>> Begin(const std::string& tenant, const std::string& id);

  // Forgets every expired session; returns how many expired since the last call, whoever found them.
  int RemoveExpired();
  int size() const;

 private:
  using Key = std::pair<std::string, std::string>;  // tenant, id

  struct Entry {
    SessionRecord record;  // `session` is null while it is being made
    std::string request_id;
    int uses = 0;
    bool deleted = false;
    std::weak_ptr<Turn> turn;
    std::function<void()> on_delete;  // of the use that holds the lease
  };

  bool Expired(const Entry& entry) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The entry of a finished, living session, or null. Drops an expired one.
  std::shared_ptr<Entry> Find(const Key& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Erase(std::map<Key, std::shared_ptr<Entry>>::iterator it) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckLimits(const std::string& tenant) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EraseExpired() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Puts an entry without a session in place, or returns the living one that `request_id` made.
  absl::StatusOr<std::shared_ptr<Entry>> Reserve(const std::string& tenant, const std::string& id,
                                                 const SessionSettings& settings,
                                                 const std::string& request_id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Engine& engine_;
  const RegistryLimits limits_;
  const Clock clock_;
  mutable absl::Mutex mutex_;
  std::map<Key, std::shared_ptr<Entry>> entries_ ABSL_GUARDED_BY(mutex_);
  int expired_ ABSL_GUARDED_BY(mutex_) = 0;  // since RemoveExpired last told
  std::map<std::string, int> per_tenant_ ABSL_GUARDED_BY(mutex_);
  std::map<Key, std::string> created_by_ ABSL_GUARDED_BY(mutex_);  // (tenant, request id) -> session id
};

}  // namespace memgate

#endif  // MEMGATE_SERVER_SESSION_REGISTRY_H_
