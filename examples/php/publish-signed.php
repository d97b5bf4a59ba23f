<?php

declare(strict_types=1);

// Copy this function. It needs PHP 7.4 or later and ext-curl, and from the environment SIDECAST_URL and SIDECAST_SIGNING_SECRET (whsec_…).
// The secret signs and never travels: whoever reads along cannot publish. Run as it is: php publish-signed.php [user]

/** Publishes one event; $id is the same for all attempts to publish it, and has no dot. */
function sidecast_publish_signed(string $event, $data, array $to, ?string $id = null, int $attempts = 3): array
{
    $secret = base64_decode(preg_replace('/^whsec_/', '', trim((string) getenv('SIDECAST_SIGNING_SECRET'))), true);
    if ($secret === false || $secret === '') throw new RuntimeException('SIDECAST_SIGNING_SECRET is not set, or is not whsec_ and base64');
    $id ??= 'msg_' . bin2hex(random_bytes(16));
    $body = json_encode(['event' => $event, 'data' => $data, 'to' => $to], JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION);
    for ($attempt = 1; ; $attempt++) {
        // Each attempt has a time and a signature of its own: the same request is taken once.
        $time = time();
        $signature = base64_encode(hash_hmac('sha256', "$id.$time.$body", $secret, true));
        $curl = curl_init(rtrim(getenv('SIDECAST_URL') ?: 'http://127.0.0.1:3001', "/ \n") . '/v1/events');
        curl_setopt_array($curl, [
            CURLOPT_POSTFIELDS => $body, // What was signed, byte for byte.
            CURLOPT_HTTPHEADER => ['Content-Type: application/json', "webhook-id: $id", "webhook-timestamp: $time", "webhook-signature: v1,$signature"],
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_CONNECTTIMEOUT_MS => 1000,
            CURLOPT_TIMEOUT_MS => 3000,
        ]);
        $text = curl_exec($curl);
        $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
        $answer = json_decode((string) $text, true) ?? [];
        if ($text !== false && $status < 300) return $answer;
        if ($attempt < $attempts && ($text === false || $status === 429 || $status >= 500)) {
            usleep(1_100_000); // Into the next second.
            continue;
        }
        throw new RuntimeException('Sidecast: ' . ($answer['code'] ?? "HTTP $status") . ', ' . ($text === false ? curl_error($curl) : $answer['detail'] ?? ''), $status);
    }
}

if (realpath($_SERVER['SCRIPT_FILENAME'] ?? '') !== __FILE__) return; // Included: the rest is the demonstration.

try {
    $published = sidecast_publish_signed('order.updated', ['order' => 7, 'name' => 'Grüße'], ['users' => [$argv[1] ?? '42']]);
    // Null: a repetition, and the bridge was started anew after it had stored the event.
    $sessions = $published['matched'] ?? 'an unknown number of';
    echo "published {$published['id']} to $sessions sessions\n";
} catch (RuntimeException $error) {
    fwrite(STDERR, $error->getMessage() . "\n");
    exit(1);
}
