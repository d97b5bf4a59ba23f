<?php

declare(strict_types=1);

// Copy these two functions. They need PHP 7.4 or later and ext-curl, and from the environment SIDECAST_URL and SIDECAST_API_KEY.
// Run as it is, this file shows what they do: php publish.php [user]

/** Publishes one event; returns its id and offset, and how many open sessions it was for. */
function sidecast_publish(string $event, $data, array $to, ?string $id = null): array
{
    // The id makes a repeat harmless: Sidecast stores an id once, whoever sends it again.
    return sidecast_post('/v1/events', ['id' => $id ?? bin2hex(random_bytes(16)), 'event' => $event, 'data' => $data, 'to' => $to]);
}

/** Posts, and tries again for as long as that can help: no answer at all, 429, or a failure of the server. */
function sidecast_post(string $path, array $body, int $attempts = 3): array
{
    $key = trim((string) getenv('SIDECAST_API_KEY'));
    if ($key === '') throw new RuntimeException('SIDECAST_API_KEY is not set, or not passed on to PHP (php-fpm: clear_env)');
    for ($attempt = 1; ; $attempt++) {
        $curl = curl_init(rtrim(getenv('SIDECAST_URL') ?: 'http://127.0.0.1:3001', "/ \n") . $path);
        curl_setopt_array($curl, [
            CURLOPT_POSTFIELDS => json_encode($body, JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION),
            CURLOPT_HTTPHEADER => ['Content-Type: application/json', "Authorization: Bearer $key"],
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_CONNECTTIMEOUT_MS => 1000,
            CURLOPT_TIMEOUT_MS => 3000, // A page must not hang because events cannot be sent.
        ]);
        $text = curl_exec($curl);
        $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
        $answer = json_decode((string) $text, true) ?? [];
        if ($text !== false && $status < 300) return $answer;
        if ($attempt < $attempts && ($text === false || $status === 429 || $status >= 500)) {
            usleep(200_000 * $attempt);
            continue;
        }
        $problem = $text === false ? curl_error($curl) : ($answer['detail'] ?? $answer['title'] ?? 'no problem+json: is this Sidecast?');
        throw new RuntimeException("Sidecast, $path: " . ($answer['code'] ?? "HTTP $status") . ", $problem", $status);
    }
}

if (realpath($_SERVER['SCRIPT_FILENAME'] ?? '') !== __FILE__) return; // Included: the rest is the demonstration.
$user = $argv[1] ?? '42';

try {
    $published = sidecast_publish('order.updated', ['order' => 7, 'status' => 'shipped'], ['users' => [$user]]);
    // Null: a repetition, and the bridge was started anew after it had stored the event.
    $sessions = $published['matched'] ?? 'an unknown number of';
    echo "published {$published['id']} to $sessions sessions\n";

    // Up to 1,000 at once; each succeeds or fails on its own. Without ids of their own a repeated batch would be stored twice.
    $events = array_map(fn (int $order) => ['id' => bin2hex(random_bytes(16)), 'event' => 'order.created', 'data' => ['order' => $order], 'to' => ['users' => [$user]]], [8, 9]);
    foreach (sidecast_post('/v1/events/batch', ['events' => $events])['results'] as $result) {
        echo $result['status'] === 202 ? "published {$result['id']}\n" : "refused, {$result['code']}: {$result['detail']}\n";
    }

    sidecast_publish('not a name', null, ['users' => [$user]]);
} catch (RuntimeException $error) {
    fwrite(STDERR, $error->getMessage() . "\n");
    exit(1);
}
