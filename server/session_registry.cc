#include "server/session_registry.h"

#include <openssl/rand.h>

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/error.h"

namespace memgate {
namespace {

absl::Status NotFound(const std::string& id) {
  return ErrorWithReason(absl::StatusCode::kNotFound, "SESSION_NOT_FOUND",
                         absl::StrCat("there is no session sessions/", id, "; it may have expired"));
}

// 64 random bits: a collision is less likely than a broken disk, and Reserve would report it.
absl::StatusOr<std::string> RandomId() {
  unsigned char bytes[8];
  if (RAND_bytes(bytes, sizeof(bytes)) != 1) return absl::InternalError("the system's random source failed");
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(bytes), sizeof(bytes)));
}

}  // namespace

SessionRegistry::SessionRegistry(Engine& engine, RegistryLimits limits, Clock clock)
    : engine_(engine), limits_(limits), clock_(std::move(clock)) {}

SessionRegistry::Use::~Use() {
  if (has_on_delete_) {
    absl::MutexLock lock(&registry_.mutex_);
    entry_->on_delete = nullptr;  // the next use may set its own as soon as the lease is free
  }
  lease_.reset();  // whoever sees the session unused finds it free
  absl::MutexLock lock(&registry_.mutex_);
  --entry_->uses;
  entry_->record.last_used_time = registry_.clock_();
}

const std::shared_ptr<Session>& SessionRegistry::Use::session() const { return entry_->record.session; }

void SessionRegistry::Use::Attach(std::shared_ptr<Turn> turn) {
  {
    absl::MutexLock lock(&registry_.mutex_);
    entry_->turn = turn;
    if (!entry_->deleted) return;
  }
  registry_.engine_.Cancel(turn);
}

void SessionRegistry::Use::OnDelete(std::function<void()> on_delete) {
  {
    absl::MutexLock lock(&registry_.mutex_);
    if (!entry_->deleted) {
      has_on_delete_ = true;
      entry_->on_delete = std::move(on_delete);
      return;
    }
  }
  on_delete();
}

bool SessionRegistry::Use::deleted() const {
  absl::MutexLock lock(&registry_.mutex_);
  return entry_->deleted;
}

SessionSettings SessionRegistry::Use::settings() const {
  absl::MutexLock lock(&registry_.mutex_);
  return {.ttl = entry_->record.ttl, .labels = entry_->record.labels};
}

bool SessionRegistry::Expired(const Entry& entry) const {
  return entry.record.session != nullptr && entry.uses == 0 && clock_() >= entry.record.expire_time();
}

void SessionRegistry::Erase(std::map<Key, std::shared_ptr<Entry>>::iterator it) {
  const auto& [key, entry] = *it;
  entry->deleted = true;
  if (!entry->request_id.empty()) created_by_.erase({key.first, entry->request_id});
  const auto count = per_tenant_.find(key.first);
  if (--count->second == 0) per_tenant_.erase(count);
  entries_.erase(it);
}

std::shared_ptr<SessionRegistry::Entry> SessionRegistry::Find(const Key& key) {
  const auto it = entries_.find(key);
  if (it == entries_.end()) return nullptr;
  if (Expired(*it->second)) {
    Erase(it);
    ++expired_;
    return nullptr;
  }
  return it->second->record.session == nullptr ? nullptr : it->second;
}

void SessionRegistry::EraseExpired() {
  for (auto it = entries_.begin(); it != entries_.end();) {
    const auto current = it++;
    if (!Expired(*current->second)) continue;
    Erase(current);
    ++expired_;
  }
}

absl::Status SessionRegistry::CheckLimits(const std::string& tenant) {
  const auto of_tenant = [&] {
    const auto it = per_tenant_.find(tenant);
    return it == per_tenant_.end() ? 0 : it->second;
  };
  const auto full = [&] {
    return static_cast<int>(entries_.size()) >= limits_.max_sessions ||
           of_tenant() >= limits_.max_sessions_per_tenant;
  };
  if (!full()) return absl::OkStatus();
  EraseExpired();
  if (!full()) return absl::OkStatus();
  const bool tenant_full = of_tenant() >= limits_.max_sessions_per_tenant;
  return ErrorWithReason(
      absl::StatusCode::kResourceExhausted, "SESSION_LIMIT",
      absl::StrCat("the limit of ", tenant_full ? limits_.max_sessions_per_tenant : limits_.max_sessions,
                   tenant_full ? " sessions per tenant" : " sessions on this server",
                   " is reached; delete a session or let one expire"));
}

absl::StatusOr<std::shared_ptr<SessionRegistry::Entry>> SessionRegistry::Reserve(
    const std::string& tenant, const std::string& id, const SessionSettings& settings,
    const std::string& request_id) {
  if (!request_id.empty()) {
    if (const auto made = created_by_.find({tenant, request_id}); made != created_by_.end()) {
      const auto it = entries_.find({tenant, made->second});
      if (it->second->record.session == nullptr) {
        return ErrorWithReason(absl::StatusCode::kAborted, "REQUEST_IN_PROGRESS",
                               "a call with this request_id is still being answered");
      }
      if (auto entry = Find(it->first)) return entry;  // else it has expired: make a new one
    }
  }
  const Key key{tenant, id};
  if (Find(key) != nullptr || entries_.contains(key)) {
    return ErrorWithReason(absl::StatusCode::kAlreadyExists, "SESSION_EXISTS",
                           absl::StrCat("there already is a session sessions/", id));
  }
  if (auto status = CheckLimits(tenant); !status.ok()) return status;
  auto entry = std::make_shared<Entry>();
  const absl::Time now = clock_();
  entry->record = {
      .id = id, .create_time = now, .last_used_time = now, .ttl = settings.ttl, .labels = settings.labels};
  entry->request_id = request_id;
  entries_[key] = entry;
  ++per_tenant_[tenant];
  if (!request_id.empty()) created_by_[{tenant, request_id}] = id;
  return entry;
}

absl::StatusOr<SessionRecord> SessionRegistry::Create(const std::string& tenant, const std::string& id,
                                                      const SessionSettings& settings,
                                                      const std::string& request_id, const Maker& make) {
  std::string name = id;
  if (name.empty()) {
    absl::StatusOr<std::string> random = RandomId();
    if (!random.ok()) return random.status();
    name = *std::move(random);
  }
  std::shared_ptr<Entry> entry;
  {
    absl::MutexLock lock(&mutex_);
    auto reserved = Reserve(tenant, name, settings, request_id);
    if (!reserved.ok()) return reserved.status();
    entry = *std::move(reserved);
    if (entry->record.session != nullptr) return entry->record;
  }
  absl::StatusOr<std::shared_ptr<Session>> session = make();
  absl::MutexLock lock(&mutex_);
  if (!session.ok()) {
    Erase(entries_.find({tenant, name}));
    return WithDefaultReason(session.status(), absl::StatusCode::kResourceExhausted, "MEMORY_BUDGET");
  }
  entry->record.session = *std::move(session);
  entry->record.last_used_time = clock_();
  return entry->record;
}

absl::StatusOr<SessionRecord> SessionRegistry::Get(const std::string& tenant, const std::string& id) {
  absl::MutexLock lock(&mutex_);
  const auto entry = Find({tenant, id});
  if (entry == nullptr) return NotFound(id);
  return entry->record;
}

std::vector<SessionRecord> SessionRegistry::List(const std::string& tenant, const std::string& after,
                                                 int limit) {
  std::vector<SessionRecord> page;
  absl::MutexLock lock(&mutex_);
  EraseExpired();
  for (auto it = entries_.upper_bound({tenant, after}); it != entries_.end() && it->first.first == tenant;
       ++it) {
    if (static_cast<int>(page.size()) == limit) break;
    if (it->second->record.session != nullptr) page.push_back(it->second->record);
  }
  return page;
}

absl::StatusOr<SessionRecord> SessionRegistry::Update(const std::string& tenant, const std::string& id,
                                                      std::optional<absl::Duration> ttl,
                                                      std::optional<Labels> labels) {
  absl::MutexLock lock(&mutex_);
  const auto entry = Find({tenant, id});
  if (entry == nullptr) return NotFound(id);
  if (ttl) entry->record.ttl = *ttl;
  if (labels) entry->record.labels = *std::move(labels);
  entry->record.last_used_time = clock_();
  return entry->record;
}

absl::Status SessionRegistry::Delete(const std::string& tenant, const std::string& id) {
  std::shared_ptr<Entry> entry;
  std::shared_ptr<Turn> turn;
  std::function<void()> on_delete;
  {
    absl::MutexLock lock(&mutex_);
    entry = Find({tenant, id});
    if (entry == nullptr) return NotFound(id);
    Erase(entries_.find({tenant, id}));
    turn = entry->turn.lock();
    on_delete = std::exchange(entry->on_delete, nullptr);
  }
  if (turn != nullptr) engine_.Cancel(turn);
  if (on_delete) on_delete();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<SessionRegistry::Use>> SessionRegistry::Begin(const std::string& tenant,
                                                                             const std::string& id) {
  std::unique_ptr<Use> use;
  {
    absl::MutexLock lock(&mutex_);
    const auto entry = Find({tenant, id});
    if (entry == nullptr) return NotFound(id);
    ++entry->uses;
    use.reset(new Use(*this, entry));
  }
  absl::StatusOr<std::shared_ptr<SessionLease>> lease = engine_.Acquire(use->session());
  if (!lease.ok()) return WithDefaultReason(lease.status(), absl::StatusCode::kAborted, "SESSION_BUSY");
  use->lease_ = *std::move(lease);
  return use;
}

int SessionRegistry::RemoveExpired() {
  absl::MutexLock lock(&mutex_);
  EraseExpired();
  return std::exchange(expired_, 0);
}

int SessionRegistry::size() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(entries_.size());
}

}  // namespace memgate
