<?php

declare(strict_types=1);

// What Sidecast asks your application: may this user be in this room (SIDECAST_AUTHORIZE_ROOMS_URL), and who is behind this session cookie or token
// (SIDECAST_AUTHORIZE_CONNECT_URL). Both may be the address of this file: a question about a room names one. Copy the first function, put your own rules
// into the two others. Needs PHP 7.4 or later, and SIDECAST_AUTHORIZE_SECRET in the environment.

/** The question, if it is Sidecast that asks: anything else is answered 400. The signature has the form of Standard Webhooks. */
function sidecast_question(): array
{
    $secret = base64_decode((string) preg_replace('/^whsec_/', '', trim((string) getenv('SIDECAST_AUTHORIZE_SECRET'))), true);
    if ($secret === false || strlen($secret) < 24) throw new RuntimeException('SIDECAST_AUTHORIZE_SECRET is not set, or not passed on to PHP (php-fpm: clear_env)');
    $body = (string) file_get_contents('php://input');
    $id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
    $timestamp = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $secret, true));
    $good = false;
    foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $signature) $good = hash_equals($expected, $signature) || $good;
    // An old question that somebody sends again is worth nothing.
    if ($good && abs(time() - (int) $timestamp) <= 300) return json_decode($body, true, 8, JSON_THROW_ON_ERROR);
    sidecast_answer(['error' => 'the signature is missing, wrong or old'], 400);
}

/** @return never */
function sidecast_answer(array $answer, int $status = 200): void
{
    http_response_code($status);
    header('Content-Type: application/json');
    echo json_encode($answer, JSON_THROW_ON_ERROR);
    exit;
}

/** Your rule for rooms. The name is what the browser has sent: take it apart, believe nothing of it. */
function may_join(string $user, string $room): bool
{
    $orders = ['42' => [7, 8], '43' => [9]]; // Your database.
    return preg_match('/^order:(\d{1,9})$/D', $room, $part) === 1 && in_array((int) $part[1], $orders[$user] ?? [], true);
}

/** Your login. The Cookie header of the browser is that of this request too, so the session is at hand; null: nobody. */
function who_is_it(?string $token): ?array
{
    // With an opaque token instead, in Laravel: PersonalAccessToken::findToken($token)?->tokenable, and its expires_at.
    if ($token !== null) return null;
    // Without holding the session's lock, and without a new cookie: its answer does not reach the browser.
    if (!isset($_COOKIE[session_name()]) || !session_start(['read_and_close' => true, 'use_strict_mode' => true])) return null;
    if (!isset($_SESSION['user'])) return null;
    // Rooms as in a rooms claim: names are joined at once, patterns allow joining. `issuedAt`: when the user has logged in, for revocations by time.
    return ['user' => $_SESSION['user'], 'rooms' => ['news', 'team:*'], 'issuedAt' => $_SESSION['since'] ?? null, 'expiresAt' => null];
}

$question = sidecast_question();
if (isset($question['room'])) {
    $allowed = may_join((string) $question['user'], $question['room']);
    sidecast_answer($allowed ? ['allowed' => true, 'expiresAt' => time() + 3600] : ['allowed' => false]);
}
$login = who_is_it($question['token'] ?? null);
$login === null ? sidecast_answer(['error' => 'not logged in'], 401) : sidecast_answer($login);
